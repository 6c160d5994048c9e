// Vectors kept in the browser: IndexedDB, keyed by the model's SHA-256 and the article.
const NAME = "lawvault-vectors";

const done = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** Open the store. Where the browser keeps nothing (private windows), one that forgets. */
export async function openStore() {
  let database;
  try {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore("vectors");
    database = await done(request);
  } catch {
    return { keeps: false, get: async () => undefined, put: async () => {}, clear: async () => {} };
  }
  const vectors = (mode) => database.transaction("vectors", mode).objectStore("vectors");
  const store = {
    keeps: true,
    get: (model, article) => done(vectors("readonly").get([model, ...article])),
    async put(model, article, vector) {
      try {
        await done(vectors("readwrite").put(vector, [model, ...article]));
      } catch {
        store.keeps = false; // no room: the page goes on without
      }
    },
    clear: () => done(vectors("readwrite").clear()),
  };
  return store;
}
