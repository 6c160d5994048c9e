// Can this browser run this model? Asked before anything large is fetched.
import { say } from "./words.mjs";

const PAGE_BYTES = 65536;
const MOST_PAGES = 65536; // 4 GB, the end of a 32-bit memory
const RUNTIME_BYTES = 64e6;
// The weights once as they come and once as the kernels lay them out.
const COPIES = 2;
// The smallest module with a SIMD instruction: a function that makes a v128 and drops it.
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 9, 1, 7, 0, 65, 0, 253, 15, 26, 11,
]);

/** Return bytes to load, bytes of memory needed, and the keys of what is stored for this file. */
export function measure(manifest, { file, artifact }) {
  const small = ["config.json", "tokenizer.json", "tokenizer_config.json"];
  const records = manifest.files.filter(({ path }) => path === file || path === `${file}_data`);
  const bytes = records.reduce((sum, { size_bytes: size }) => sum + size, 0);
  const sha = (some) => some.map(({ sha256 }) => sha256).join("-");
  const beside = manifest.files.filter(({ path }) => small.includes(path));
  return {
    bytes, needed: COPIES * bytes + RUNTIME_BYTES,
    vectors: `${sha(records)} ${artifact.prompts.document}`,
    cache: `lawvault-${sha([...records, ...beside])}`,
  };
}

/** Return the sentence that says why the model cannot run here; nothing where it can. */
export function problemOf({ needed }) {
  if (typeof WebAssembly !== "object") return say.noWasm;
  if (!WebAssembly.validate(SIMD)) return say.noSimd;
  if (typeof Worker !== "function") return say.noWorker;
  try {
    // Reserved, not touched: costs nothing where there is room.
    new WebAssembly.Memory({ initial: Math.min(MOST_PAGES, Math.ceil(needed / PAGE_BYTES)) });
  } catch {
    return say.noMemory(Math.round(needed / 1e6));
  }
  return undefined;
}

/** Say whether an error of the runtime is one of memory. */
export function tooLittle(error) {
  return /memory|allocat|bad_alloc|out of bounds|OOM/i.test(error.message);
}
