// Kept conversations and the settings as one file and back (docs/page.md has its format). A file that is not as it should be gives a
// Refused, and nothing else. Knows no page.

const FORMAT = "chatfed-conversations";
const VERSION = 1;
const MOST_BYTES = 64 * 1024 * 1024;
const LONGEST_NAME = 80;
const ID = /^[A-Za-z0-9_-]{1,64}$/; // the browser's own are UUIDs

// The settings, in gradio's order: of numbers the limits are the page's, of texts how long they may be.
const NUMBERS = ["temperature", "top_p", "repetition_penalty", "longest_reply"];
const SETTINGS = [...NUMBERS, "seed", "system_prompt"];
const SEED = /^([+-]?[0-9]{1,20})?$/;

function written(conversations, settings) {
  const each = conversations.map(({id, name, created, changed, messages}) => ({id, name, created, changed, messages}));
  return JSON.stringify({format: FORMAT, version: VERSION, exported: new Date().toISOString(), settings: named(settings), conversations: each}, null, 1);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refused("file_json");
  }
}

function named(settings) { return settings && Object.fromEntries(SETTINGS.map((name, at) => [name, settings[at] ?? ""])); }

// {conversations, settings}, the latter null where the file has none. limits: what the server takes of an open
// conversation, {messages, characters}, and of the settings, {settings: {name: [least, most]}, system_prompt}
function read(text, limits) {
  const file = parsed(text);
  if (file?.format !== FORMAT) throw new Refused("file_format");
  if (file.version !== VERSION) throw new Refused("file_version", {version: String(file.version).slice(0, 20)});
  if (!Array.isArray(file.conversations)) throw new Refused("file_list");
  const seen = new Set();
  const conversations = file.conversations.map((each, at) => conversation(each, at + 1, seen, limits));
  return {conversations, settings: file.settings == null ? null : settings_of(file.settings, limits)};
}

function settings_of(given, limits) { // in gradio's order
  const wrong = name => { throw new Refused("file_setting", {name}); };
  if (typeof given !== "object") wrong("settings");
  const numbers = NUMBERS.map(name => {
    const [least, most] = limits.settings[name], value = given[name];
    if (typeof value !== "number" || !(value >= least)) wrong(name);
    if (name === "longest_reply") return Math.min(Math.round(value), most); // the file may be of a larger model
    return value <= most ? value : wrong(name);
  });
  const seed = String(given.seed ?? "").trim(), system = given.system_prompt ?? "";
  if (!SEED.test(seed)) wrong("seed");
  if (typeof system !== "string" || system.length > limits.system_prompt) wrong("system_prompt");
  return [...numbers, seed, system];
}

function conversation(each, number, seen, limits) {
  const wrong = (why, values = {}) => { throw new Refused("file_conversation", {number, why, ...values}); };
  const named = [each?.id, each?.name].every(text => typeof text === "string" && text.trim());
  if (!named || !ID.test(each.id) || !Array.isArray(each.messages)) wrong("object");
  if (seen.has(each.id)) wrong("twice");
  seen.add(each.id);
  if (!each.messages.length || each.messages.length > limits.messages) wrong("messages", {most: limits.messages});
  const messages = each.messages.map((message, at) => {
    if (!["user", "assistant"].includes(message?.role)) wrong("role", {message: at + 1});
    if (typeof message.content !== "string") wrong("text", {message: at + 1});
    if (message.content.length > limits.characters) wrong("long", {message: at + 1, most: limits.characters});
    return {role: message.role, content: message.content};
  });
  return {id: each.id, name: named_so(each.name), created: dated(each.created), changed: dated(each.changed), messages};
}

function named_so(text) { return Array.from(text.trim().replace(/\s+/g, " ")).slice(0, LONGEST_NAME).join(""); }

function dated(text) { // a date of the file, or now where it is none
  const date = new Date(typeof text === "string" ? text : NaN);
  return (isNaN(date) ? new Date() : date).toISOString();
}
