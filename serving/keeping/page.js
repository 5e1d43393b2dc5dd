// What is open on the page and how it is kept, between gradio's conversation and the store. Knows no element of ours:
// who shows it is told by `shown`.

const OPEN_NOW = "chatfed-open"; // in the tab's own sessionStorage: what to open again after a reload
const SOON = 250, AT_THE_LATEST = 2000; // milliseconds from a change to its saving

const keeping = {
  current: null, // {id, name, revision} of what is kept; null: temporary
  messages: [], // what stands on the page, as {role, content}
  unsaved: false, // whether the latest messages of a kept conversation are not in the store
  wanted: null, // the id that is about to be opened
  waiting: null, since: 0, saving: Promise.resolve(),
  settings: null, given: null, // what is to stand in gradio's settings, and who is told what stood there
  store: null, shown: () => {}, said: () => {},
};

function plain(history) { // messages as texts: undoes to_page of serving/messages.py
  const text = content => typeof content === "string" ? content : Array.isArray(content) ? content.map(text).join("") : content?.text ?? "";
  const back = {amp: "&", lt: "<"};
  return (history ?? []).map(each => ({role: each.role, content: text(each.content).replace(/&(amp|lt);/g, (_, name) => back[name])}));
}

function to_page(text) { // as to_page of serving/messages.py
  const probe = document.createElement("textarea");
  const literal = seen => { probe.innerHTML = seen; return probe.value !== seen ? "&amp;" + seen.slice(1) : seen; };
  return text.replace(/&#?[\p{L}\p{N}_]+;?/gu, literal).replace(/<(?=[A-Za-z/!?])/g, "&lt;");
}

function busy() { return Boolean(document.querySelector("#message .stop-button")); }

function remember(current) {
  Object.assign(keeping, {current, unsaved: false});
  try {
    current ? sessionStorage.setItem(OPEN_NOW, current.id) : sessionStorage.removeItem(OPEN_NOW);
  } catch { /* forbidden: it is not opened again after a reload */ }
}

function saw(history) { // gradio's conversation has changed
  const messages = plain(history);
  if (JSON.stringify(messages) === JSON.stringify(keeping.messages)) return;
  if (keeping.waiting && !messages.length) save(); // what stood there until now
  keeping.messages = messages;
  if (keeping.current && messages.length) { // an emptied page changes nothing that is kept
    const now = Date.now();
    if (!keeping.waiting) keeping.since = now;
    clearTimeout(keeping.waiting);
    keeping.waiting = setTimeout(save, Math.max(0, Math.min(SOON, keeping.since + AT_THE_LATEST - now)));
  }
  keeping.shown();
}

function save() { // one after another, each with what stands on the page now
  const {current, messages} = keeping;
  clearTimeout(keeping.waiting);
  keeping.waiting = null;
  keeping.saving = keeping.saving.then(() => save_now(current, messages));
  return keeping.saving;
}

async function save_now(current, messages) {
  while (current?.copy) current = current.copy;
  if (!current || !messages.length) return false;
  try {
    const result = await keeping.store.save(current, messages);
    if (result.did === "saved") Object.assign(current, {revision: result.revision});
    else if (keeping.current === current) await (result.did === "changed" ? copy(current, messages) : lost());
    keeping.unsaved = false;
    return true;
  } catch (error) {
    keeping.unsaved = true;
    keeping.said(error.kind ?? "forbidden");
    return false;
  } finally {
    keeping.shown();
  }
}

async function copy(current, messages) { // another tab saved the same conversation: ours is kept beside it
  const name = keeping.fill("copy", {name: current.name});
  const known = {id: drawn(), name, revision: null};
  known.revision = (await keeping.store.save(known, messages)).revision;
  current.copy = known;
  remember(known);
  keeping.said("copied", {name});
}

function lost() {
  remember(null);
  keeping.said("deleted_elsewhere");
}

async function keep() {
  if (!keeping.messages.length) return keeping.said("said_nothing");
  const first = keeping.messages.find(each => each.role === "user")?.content ?? "";
  remember({id: drawn(), name: named_so(first) || keeping.fill("untitled"), revision: null});
  if (await save()) return keeping.said("said_kept");
  remember(null); // as temporary as it was; why stands on the page already
  keeping.shown();
}

function want(id) { // asks gradio whether no reply is under way; `take` follows where none is
  if (busy()) return keeping.said("writing");
  keeping.wanted = id;
  document.querySelector("#keeping-open").click();
}

async function take(history, draft) { // gives gradio the wanted conversation, or what it has
  const id = keeping.wanted;
  keeping.wanted = null;
  if (!id || busy()) return [history, draft];
  await (keeping.waiting ? save() : keeping.saving); // what was open is saved first
  try {
    const found = await keeping.store.get(id);
    if (!found) { remember(null); keeping.shown(); return [history, draft]; }
    const {name, revision, messages} = found;
    remember({id, name, revision});
    keeping.messages = messages;
    keeping.said("said_opened", {name});
    keeping.shown();
    return [messages.map(each => ({role: each.role, content: [{type: "text", text: to_page(each.content)}], metadata: null, options: null})), ""];
  } catch (error) {
    keeping.said(error.kind ?? "forbidden");
    return [history, draft];
  }
}

function restore(history, draft) { // after a reload: what was open in this tab
  try {
    keeping.wanted = sessionStorage.getItem(OPEN_NOW);
  } catch { /* forbidden */ }
  return keeping.wanted ? take(history, draft) : [history, draft];
}

// What stands in gradio's settings, in their order; with `wanted`, that stands there from then on. null: no answer came.
function exchange(wanted = null) {
  return new Promise(done => {
    Object.assign(keeping, {settings: wanted, given: done});
    document.querySelector("#keeping-settings")?.click();
    setTimeout(() => done(null), 5000);
  });
}

function settings(...now) { // gradio's values go in, and those that it is to have come out
  const {settings: wanted, given} = keeping;
  Object.assign(keeping, {settings: null, given: null});
  given?.(now);
  return wanted ?? now;
}

async function fresh() { // a new conversation has begun: temporary, as each is
  if (keeping.waiting) await save();
  remember(null);
  keeping.messages = [];
  keeping.shown();
}

function heard({did, id}) { // of another tab
  const ours = keeping.current && (id === keeping.current.id || did === "cleared");
  if (ours && did === "saved") keeping.said("changed_elsewhere");
  if (ours && (did === "deleted" || did === "cleared")) lost();
  keeping.shown();
}

window.chatfedKeeping = {saw, take, restore, fresh, settings};
window.addEventListener("pagehide", () => { if (keeping.waiting) save(); });
