// Where kept conversations stand: an IndexedDB of our own in this browser, one record a conversation. Knows no page.
// A record: {id, name, created, changed, revision, messages: [{role, content}]}. `revision` is drawn anew each time that
// messages are saved, so a tab sees that another one saved meanwhile.

const DATABASE = "chatfed-conversations";
const TABLE = "conversations";

class Refused extends Error { // `kind` is a key of the texts, `values` what stands in its places
  constructor(kind, values = {}) { super(kind); this.kind = kind; this.values = values; }
}

function drawn() { // crypto.randomUUID is not there where the page comes over plain HTTP from another machine
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, "0")).join("");
}

class Store {
  constructor(heard) { // heard: is told what other tabs did, as {did, id}
    this.base = null;
    this.news = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(DATABASE);
    if (this.news) this.news.onmessage = message => heard(message.data);
  }

  tell(did, id = null) { this.news?.postMessage({did, id}); }

  open() {
    this.base ??= new Promise((done, failed) => {
      const asked = indexedDB.open(DATABASE, 1); // throws where storage is forbidden
      asked.onupgradeneeded = () => asked.result.createObjectStore(TABLE, {keyPath: "id"});
      asked.onerror = asked.onblocked = () => failed(asked.error);
      asked.onsuccess = () => {
        asked.result.onversionchange = asked.result.onclose = () => { asked.result.close(); this.base = null; };
        done(asked.result);
      };
    });
    this.base.catch(() => { this.base = null; }); // asked again next time: it may be allowed by then
    return this.base;
  }

  // Runs `work(table, give)` in one transaction: all of it is there afterwards, or nothing. Gives what was given.
  async within(mode, work) {
    try {
      const base = await this.open();
      return await new Promise((done, failed) => {
        let given;
        const transaction = base.transaction(TABLE, mode);
        transaction.oncomplete = () => done(given);
        transaction.onabort = () => failed(transaction.error);
        work(transaction.objectStore(TABLE), value => { given = value; });
      });
    } catch (error) {
      throw new Refused(error?.name === "QuotaExceededError" ? "full" : "forbidden");
    }
  }

  async list() { // the latest first
    const all = await this.within("readonly", (table, give) => { table.getAll().onsuccess = it => give(it.target.result); });
    return all.sort((one, other) => (one.changed < other.changed ? 1 : -1));
  }

  get(id) {
    return this.within("readonly", (table, give) => { table.get(id).onsuccess = it => give(it.target.result ?? null); });
  }

  // Saves `messages` if the record is as it was at `known.revision`, null for a new one: {did: "saved", revision}, or
  // {did: "changed"} and {did: "deleted"} where another tab was faster.
  async save(known, messages) {
    const result = await this.within("readwrite", (table, give) => {
      table.get(known.id).onsuccess = it => {
        const found = it.target.result;
        if (!found && known.revision) return give({did: "deleted"});
        if (found && found.revision !== known.revision) return give({did: "changed"});
        const now = new Date().toISOString(), revision = drawn();
        table.put({id: known.id, name: found?.name ?? known.name, created: found?.created ?? now, changed: now, revision, messages});
        give({did: "saved", revision});
      };
    });
    if (result.did === "saved") this.tell("saved", known.id);
    return result;
  }

  async rename(id, name) {
    await this.within("readwrite", table => {
      table.get(id).onsuccess = it => { if (it.target.result) table.put({...it.target.result, name}); };
    });
    this.tell("renamed", id);
  }

  async remove(id) {
    await this.within("readwrite", table => { table.delete(id); });
    this.tell("deleted", id);
  }

  async clear() {
    await this.within("readwrite", table => { table.clear(); });
    this.tell("cleared");
  }

  // Adds conversations of a file: {added, same}. One whose id is taken by other messages gets an id of its own.
  async add(conversations) {
    const result = await this.within("readwrite", (table, give) => {
      const count = {added: 0, same: 0};
      give(count);
      for (const each of conversations) {
        table.get(each.id).onsuccess = it => {
          const found = it.target.result;
          if (found && JSON.stringify(found.messages) === JSON.stringify(each.messages)) { count.same += 1; return; }
          table.put({...each, id: found ? drawn() : each.id, revision: drawn()});
          count.added += 1;
        };
      }
    });
    this.tell("imported");
    return result;
  }
}
