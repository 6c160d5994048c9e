// Vectors of questions and documents with the model of this folder, in Node 18+ and in browsers.
//
//   import * as transformers from "@huggingface/transformers";
//   import { openModel } from "./embed.mjs";
//   const model = await openModel(transformers, { dtype: "q8" });
//   const vector = await model.embedQuery("...");            // Float32Array of length 1
//   const other = await model.embedDocument("title", "text", { dim: 256 });
//
// transformers.js cuts a text that is too long behind its end token; here it is cut before it, as
// the original does.
const here = new URL(".", import.meta.url);
const inNode = here.protocol === "file:";
// transformers.js takes a path: on disk, or on the server that this page came from.
export const folder = inNode
  ? decodeURIComponent(here.pathname).replace(/^\/([A-Za-z]:)/, "$1")
  : here.pathname;
// Scheme -> dtype, in the order in which one is taken where nobody chose.
export const DTYPES = { int8: "q8", fp32: "fp32", fp16: "fp16", q4: "q4", q4f16: "q4f16",
  mixed: "int8" };

/** Return a JSON file of the package. */
export async function read(name) {
  const url = new URL(name, here);
  if (inNode) {
    const { readFile } = await import("node:fs/promises");
    return JSON.parse(await readFile(url, "utf-8"));
  }
  const answer = await fetch(url, { cache: "no-cache" }); // asks whether it has changed
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  return answer.json();
}

/** Load the model. dtype: one of the package's; device: cpu (Node), wasm or webgpu (browser). */
export async function openModel(transformers, { dtype, device, onProgress } = {}) {
  const { AutoModel, AutoTokenizer, Tensor, env } = transformers;
  const [prompts, { artifacts }] = await Promise.all(["prompts.json", "manifest.json"].map(read));
  const packaged = artifacts.map(({ artifact }) => DTYPES[artifact.scheme]);
  const taken = dtype ?? Object.values(DTYPES).find((one) => packaged.includes(one));
  const index = packaged.indexOf(taken);
  if (index < 0) throw new RangeError(`dtype ${dtype} is none of ${packaged.join(", ")}`);
  const { artifact } = artifacts[index];
  env.allowLocalModels = true; // off by default in browsers
  const options = {
    dtype: taken, device, local_files_only: true, progress_callback: onProgress,
  };
  const tokenizer = await AutoTokenizer.from_pretrained(folder, { local_files_only: true });
  const model = await AutoModel.from_pretrained(folder, options);

  const plain = (text, special) =>
    tokenizer(text, { return_tensor: false, add_special_tokens: special }).input_ids;
  const [bare, whole] = [plain("a", false), plain("a", true)];
  const start = whole.findIndex((_, at) => bare.every((id, k) => whole[at + k] === id));
  const ending = whole.slice(start + bare.length);
  const limit = artifact.max_tokens;
  const dims = artifact.matryoshka_dims.length ? artifact.matryoshka_dims : [artifact.dim];

  /** The ids that the model reads for a text, prompt applied. */
  function ids(text) {
    const all = plain(text, true);
    return all.length <= limit ? all : [...all.slice(0, limit - ending.length), ...ending];
  }

  /** The vector of a text as it is given, prompt applied; dim: one of the model's smaller ones. */
  async function embed(text, { dim } = {}) {
    if (dim !== undefined && !dims.includes(dim)) {
      throw new RangeError(`dim ${dim} is none of ${dims.join(", ")}`);
    }
    const row = ids(text);
    const tensor = (values) =>
      new Tensor("int64", BigInt64Array.from(values, BigInt), [1, row.length]);
    const output = await model({ input_ids: tensor(row), attention_mask: tensor(row.map(() => 1)) });
    return unit(output.sentence_embedding.data.slice(0, dim));
  }

  // A document without a title has a template of its own.
  const document = (title, text) =>
    apply(title ? prompts.document : prompts.document_without_title, title, text);

  return {
    artifact, dtype: taken, folder, ids, embed,
    embedQuery: (text, options) => embed(apply(prompts.query, "", text.trim()), options),
    embedDocument: (title, text, options) =>
      embed(document(title.trim(), text.trim()), options),
    close: () => model.dispose(),
  };
}

/** Fill in {text} and {title} in one go: braces in a text stay as they are. */
const apply = (template, title, text) =>
  template.replace(/\{(title|text)\}/g, (_, name) => (name === "text" ? text : title));

function unit(row) {
  let sum = 0;
  for (const value of row) sum += value * value;
  if (!(sum > 0 && sum < Infinity)) throw new Error("the model gave a vector that is not finite");
  const length = Math.sqrt(sum);
  return row.map((value) => value / length);
}
