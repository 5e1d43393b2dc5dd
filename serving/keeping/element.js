// The element <chatfed-keeping> above the conversation: whether it is temporary or kept, and the list of those kept.
// Its texts and limits come in data-texts and data-limits. Names go into the page as textContent.

const LIST = "keeping-list";

function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made && key !== "list") made[key] = value; else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function button(text, pressed, properties = {}) {
  return make("button", {type: "button", textContent: text, onclick: pressed, ...properties});
}

class Keeping extends HTMLElement {
  connectedCallback() {
    this.texts = JSON.parse(this.dataset.texts);
    this.limits = JSON.parse(this.dataset.limits);
    keeping.fill = (key, values) => this.fill(key, values);
    keeping.store ??= new Store(heard);
    keeping.said = (key, values) => this.say(this.fill(key, values));
    keeping.shown = () => this.show();
    this.open = false;
    this.replaceChildren(this.bar(), this.note = make("p", {className: "cf-note cf-said", role: "status"}), this.panel());
    this.show();
  }

  fill(key, values = {}) {
    const written = value => typeof value === "number" ? value.toLocaleString(document.documentElement.lang || "en") : value;
    return this.texts[key].replace(/\{(\w+)\}/g, (place, name) => name in values ? written(values[name]) : place);
  }

  counted(key, count, values = {}) { return this.fill(`${key}.${count === 1 ? "one" : "other"}`, {count, ...values}); }

  say(text) { this.note.textContent = text; }

  bar() {
    this.mark = make("p", {className: "cf-mark", id: "keeping-mark"});
    this.keeper = button(this.texts.keep, () => keep(), {id: "keeping-keep"});
    this.toggle = button("", () => this.turn(!this.open), {id: "keeping-toggle", "aria-controls": LIST});
    return make("div", {className: "cf-keeping"}, this.mark, this.keeper, this.toggle);
  }

  panel() {
    this.items = make("ul", {className: "cf-kept"});
    this.file = make("input", {type: "file", accept: ".json,application/json", hidden: true, "aria-label": this.texts.import});
    this.file.onchange = () => this.take_in();
    this.actions = [
      button(this.texts.export, () => this.attempt(() => this.give_out())),
      button(this.texts.import, () => this.file.click()),
      button(this.texts.delete_all, () => this.attempt(() => this.remove_all())),
    ];
    this.where = make("p", {className: "cf-note", textContent: this.texts.where});
    this.list_part = make("section", {id: LIST, className: "cf-card", hidden: true, "aria-label": this.texts.title},
      this.where, this.items, make("div", {className: "cf-keeping"}, ...this.actions, this.file));
    this.list_part.onkeydown = event => { if (event.key === "Escape") { this.turn(false); this.toggle.focus(); } };
    return this.list_part;
  }

  turn(open) {
    this.open = open;
    this.list_part.hidden = !open;
    this.say("");
    this.show();
  }

  async show() { // all that depends on what is kept; a browser that forbids keeping is one that keeps nothing
    this.show_mark();
    let all = [];
    try { all = await keeping.store.list(); } catch { /* said once something is to be kept */ }
    this.toggle.textContent = `${this.texts.list} (${all.length})`;
    this.toggle.setAttribute("aria-expanded", String(this.open));
    this.actions[2].disabled = !all.length; // settings can be exported without a conversation
    if (!this.open || this.items.querySelector("input")) return; // nothing moves while a name is typed
    const focused = this.items.contains(document.activeElement) ? document.activeElement.dataset.place : null;
    this.items.replaceChildren(...(all.length ? all.map(each => this.row(each)) : [make("li", {textContent: this.texts.none})]));
    if (focused) (this.items.querySelector(`[data-place="${CSS.escape(focused)}"]`) ?? this.toggle).focus();
  }

  show_mark() {
    const {current, unsaved, messages} = keeping;
    this.mark.className = `cf-mark ${current && !unsaved ? "cf-mark-kept" : "cf-mark-temporary"}`;
    const said = current ? (unsaved ? [this.texts.unsaved] : [this.texts.kept, " ", make("b", {dir: "auto", textContent: current.name})]) : [this.texts.temporary];
    this.mark.replaceChildren(...said);
    if (this.keeper.contains(document.activeElement) && current) this.toggle.focus();
    this.keeper.hidden = Boolean(current);
    this.keeper.setAttribute("aria-disabled", String(!messages.length));
  }

  row(each) {
    const now = keeping.current?.id === each.id;
    const about = `${this.counted("messages", each.messages.length)} · ${this.date(each.changed)}`;
    const name = make("span", {className: "cf-kept-name", dir: "auto", textContent: each.name});
    const item = make("li", {}, make("span", {className: "cf-kept-what"}, name, make("small", {textContent: now ? `${about} · ${this.texts.open_now}` : about})));
    const act = (what, pressed) => button(this.texts[what], pressed, {"aria-label": `${this.texts[what]}: ${each.name}`, "data-place": `${what}-${each.id}`});
    item.append(make("span", {className: "cf-keeping"},
      act("open", () => this.go_to(each, now)),
      act("rename", () => this.ask_name(item, each)),
      act("delete", () => this.attempt(() => this.remove_one(each)))));
    if (now) item.setAttribute("aria-current", "true");
    return item;
  }

  date(text) {
    return new Date(text).toLocaleString(document.documentElement.lang || "en", {dateStyle: "medium", timeStyle: "short"});
  }

  async attempt(work) { // what the store refuses is said; the chat goes on
    try { await work(); } catch (error) { this.say(this.why(error)); }
    await this.show();
  }

  why(error) {
    if (!(error instanceof Refused)) return this.texts.forbidden;
    const {why, ...values} = error.values;
    return this.fill(error.kind, why ? {...values, why: this.fill(`why_${why}`, values)} : values);
  }

  go_to(each, now) {
    const lost = !keeping.current && keeping.messages.length && !now;
    if (lost && !confirm(this.texts.leave)) return;
    if (busy()) return this.say(this.texts.writing);
    this.turn(false);
    want(each.id);
    document.querySelector("#message textarea")?.focus();
  }

  ask_name(item, each) {
    const field = make("input", {type: "text", value: each.name, maxLength: LONGEST_NAME, dir: "auto", "aria-label": this.texts.name});
    const over = async () => {
      form.remove();
      await this.show();
      this.items.querySelector(`[data-place="${CSS.escape(`rename-${each.id}`)}"]`)?.focus();
    };
    const form = make("form", {className: "cf-keeping"}, field, make("button", {type: "submit", textContent: this.texts.save_name}), button(this.texts.cancel, over));
    form.onsubmit = event => {
      event.preventDefault();
      const name = named_so(field.value);
      this.attempt(async () => { if (name) await this.rename(each.id, name); }).then(over);
    };
    form.onkeydown = event => { if (event.key === "Escape") { event.stopPropagation(); over(); } };
    item.replaceChildren(form);
    field.select();
  }

  async rename(id, name) {
    await keeping.store.rename(id, name);
    if (keeping.current?.id === id) keeping.current.name = name;
    this.say(this.texts.said_renamed);
  }

  async remove_one(each) {
    if (!confirm(this.fill("sure", {name: each.name}))) return;
    await keeping.store.remove(each.id);
    const now = keeping.current?.id === each.id;
    if (now) remember(null);
    this.say(this.texts[now ? "said_deleted_open" : "said_deleted"]);
  }

  async remove_all() {
    const all = await keeping.store.list();
    if (!confirm(this.counted("sure_all", all.length))) return;
    await keeping.store.clear();
    remember(null);
    this.say(this.texts.said_deleted_all);
  }

  async give_out() {
    if (keeping.waiting) await save();
    const all = await keeping.store.list();
    const settings = await exchange();
    const address = URL.createObjectURL(new Blob([written(all, settings)], {type: "application/json"}));
    const day = new Date().toISOString().slice(0, 10);
    make("a", {href: address, download: `${this.texts.export_file}-${day}.json`}).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
    this.say(this.counted("said_exported", all.length) + (settings ? "" : ` ${this.texts.said_without_settings}`));
  }

  async set(settings) { // what is said of it
    const [system] = settings.slice(-1), taken = this.limits.takes_system;
    if (!await exchange(taken ? settings : [...settings.slice(0, -1), ""])) return this.texts.said_no_settings;
    return this.texts[taken || !system ? "said_settings" : "said_settings_but_system"];
  }

  take_in() {
    const [file] = this.file.files;
    this.attempt(async () => {
      if (file.size > MOST_BYTES) throw new Refused("file_large", {count: file.size, most: MOST_BYTES});
      const {conversations, settings} = read(await file.text(), this.limits);
      const {added, same} = await keeping.store.add(conversations);
      this.say([
        ...(added || same || !settings ? [this.counted("said_imported", added)] : []),
        ...(same ? [this.counted("said_same", same)] : []),
        ...(settings ? [await this.set(settings)] : []),
      ].join(" "));
    }).finally(() => { this.file.value = ""; }); // the same file may be chosen again
  }
}

customElements.define("chatfed-keeping", Keeping);
