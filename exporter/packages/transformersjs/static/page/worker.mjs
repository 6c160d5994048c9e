// The model, in a thread of its own so that the page stays responsive.
import { openModel } from "../embed.mjs";

let model;
const answers = {
  /** Load the model for good; another one takes another worker. keep: names of caches, ours first. */
  async load({ dtype, device, keep }) {
    const transformers = await import("./vendor/transformers.min.js");
    const { env } = transformers;
    env.allowRemoteModels = false;
    // The browser would take a file that has been replaced from its own cache, unasked.
    env.fetch = (address, options) => fetch(address, { ...options, cache: "no-cache" });
    env.useWasmCache = false; // small enough for the browser's own
    env.cacheKey = keep[0];
    await forgetAllBut(keep);
    env.logLevel = 40; // errors
    const build = "ort-wasm-simd-threaded" + (device === "webgpu" ? ".asyncify" : "");
    const at = (ending) => new URL(`vendor/${build}.${ending}`, import.meta.url).href;
    env.backends.onnx.wasm.wasmPaths = { mjs: at("mjs"), wasm: at("wasm") };
    const loaded = {};
    const onProgress = ({ status, file, loaded: bytes }) => {
      if (status !== "progress") return;
      loaded[file] = bytes;
      postMessage({ progress: Object.values(loaded).reduce((a, b) => a + b, 0) });
    };
    model = await openModel(transformers, { dtype, device, onProgress });
  },
  query: ({ text }) => model.embedQuery(text),
  document: ({ title, text }) => model.embedDocument(title, text),
};

/** transformers.js keeps files by their address; those of other bytes at this one must go. */
async function forgetAllBut(keep) {
  if (!("caches" in self)) return; // only https and localhost have them
  for (const name of await caches.keys()) {
    if (name.startsWith("lawvault-") && !keep.includes(name)) await caches.delete(name);
  }
}

onmessage = async ({ data: { id, kind, ...task } }) => {
  try {
    const start = performance.now();
    const value = await answers[kind](task);
    postMessage({ id, value, ms: performance.now() - start });
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error) });
  }
};
