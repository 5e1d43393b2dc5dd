// The panel "Word by word" in the browser: which token is chosen, what may stand there, and what is asked of the server.
// gradio runs this once, when the panel's place is on the page, and gives it `element`, `trigger`, `props` and `watch`.
// Every text from the model goes into the page as textContent.

const MESSAGES = "#conversation [data-testid=bot], #conversation [data-testid=user]";
let shown = null; // what the panel's data say, and the text of the message that it is about

// What the panel says holds only for the message that it was made for.
const changes = new MutationObserver(() => {
  if (shown && document.querySelectorAll(MESSAGES)[shown.message]?.textContent !== shown.text) { close(); }
});

function open() {
  const panel = element.querySelector("[data-alternatives]");
  if (!panel) { shown = null; return; }
  shown = JSON.parse(panel.dataset.alternatives);
  const message = document.querySelectorAll(MESSAGES)[shown.message];
  if (!message) { close(); return; }
  shown.text = message.textContent;
  changes.observe(document.querySelector("#conversation"), {subtree: true, childList: true, characterData: true});
  choose(shown.chosen);
}

function choose(at) {
  shown.chosen = at;
  element.querySelectorAll(".cf-token").forEach((token, place) => {
    token.tabIndex = place === at ? 0 : -1;
    token.setAttribute("aria-pressed", String(place === at));
  });
  const [id, text, share] = shown.said[at];
  const among = shown.places[at].some(choice => choice[0] === id);
  element.querySelector(".cf-said").textContent = filled(among ? "among" : "beyond", text, share);
  element.querySelector(".cf-choices").replaceChildren(...shown.places[at].map(choice => item(at, choice, id)));
}

function filled(key, text, share) {
  return shown.texts[key].replace(/\{(word|share)\}/g, (_, place) => place === "word" ? text : share);
}

function item(at, [id, text, share, open], said) {
  const line = document.createElement("li"), word = document.createElement("span"), figure = document.createElement("span");
  word.textContent = text;
  word.dir = "auto";
  figure.textContent = share;
  const holder = document.createElement(open ? "button" : "span");
  holder.append(word, figure);
  if (open) {
    holder.type = "button";
    holder.dataset.choice = id;
    holder.setAttribute("aria-label", filled(id === said ? "as_said" : "go_on", text, share));
  }
  if (id === said) { holder.classList.add("cf-was-said"); }
  line.append(holder);
  return line;
}

function close() {
  shown = null;
  changes.disconnect();
  props.value = "";
}

function move(token, key) {
  const tokens = [...element.querySelectorAll(".cf-token")], at = tokens.indexOf(token);
  const back = token.closest(":dir(rtl)") ? "ArrowRight" : "ArrowLeft";
  const to = key === "Home" ? 0 : key === "End" ? tokens.length - 1 : key === back || key === "ArrowUp" ? at - 1 : at + 1;
  if (!tokens[to]) { return; }
  choose(to);
  tokens[to].focus();
}

element.addEventListener("click", event => {
  const token = event.target.closest(".cf-token"), choice = event.target.closest("[data-choice]");
  if (event.target.closest(".cf-close")) {
    close();
    document.querySelector("#alternatives-open")?.focus();
  } else if (token && shown) {
    choose(Number(token.dataset.at));
  } else if (choice && shown) {
    const opening = [...shown.ids.slice(0, shown.chosen), choice.dataset.choice].join(" ");
    trigger("select", {index: [shown.message, shown.chosen], value: opening});
  }
});

element.addEventListener("keydown", event => {
  const token = event.target.closest(".cf-token");
  if (token && shown && /^(Arrow(Left|Right|Up|Down)|Home|End)$/.test(event.key)) {
    event.preventDefault();
    move(token, event.key);
  }
});

// A word of a reply in the conversation is clicked: which character of which message.
document.addEventListener("click", event => {
  if (!element.isConnected) { return; }
  const message = event.target.closest?.("#conversation [data-testid=bot]");
  if (!message || event.target.closest("button, textarea") || !getSelection().isCollapsed) { return; }
  const caret = document.caretPositionFromPoint?.(event.clientX, event.clientY)
    ?? document.caretRangeFromPoint?.(event.clientX, event.clientY);
  const node = caret && (caret.offsetNode ?? caret.startContainer);
  if (!node || !message.contains(node)) { return; }
  const before = document.createRange();
  before.setStart(message, 0);
  before.setEnd(node, caret.offset ?? caret.startOffset);
  const index = [...document.querySelectorAll(MESSAGES)].indexOf(message);
  trigger("click", {index: [index, [...before.toString()].length], value: ""});
});

watch("value", open);
