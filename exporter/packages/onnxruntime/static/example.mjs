// node example.mjs "房东不退押金怎么办"   needs: npm install @huggingface/transformers
// (its tokenizer, and onnxruntime-node which it brings along)
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const folder = path.dirname(fileURLToPath(import.meta.url));
const read = (name) => JSON.parse(fs.readFileSync(path.join(folder, name), "utf-8"));
const require = createRequire(path.join(process.env.NODE_MODULES ?? process.cwd(), "x.js"));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { PreTrainedTokenizer } = await load("@huggingface/transformers");
const { default: ort } = await load("onnxruntime-node");

const prompts = read("prompts.json");
const { max_tokens } = read("manifest.json").artifacts[0].artifact;
const tokenizer = new PreTrainedTokenizer(read("tokenizer.json"), read("tokenizer_config.json"));
const session = await ort.InferenceSession.create(path.join(folder, "model.onnx"));

export const question = (text) => prompts.query.replace("{text}", () => text);
export const document = (title, text) =>
  (title ? prompts.document : prompts.document_without_title)
    .replace(/\{(title|text)\}/g, (_, name) => (name === "text" ? text : title));

export async function embed(text) {
  let ids = [...tokenizer.encode(text)];
  if (ids.length > max_tokens) ids = [...ids.slice(0, max_tokens - 1), ids.at(-1)]; // keep the end
  const tensor = (values) =>
    new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, ids.length]);
  const feed = { input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1)) };
  return [...(await session.run(feed)).sentence_embedding.data];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const vectors = [];
  for (const text of process.argv.slice(2)) vectors.push(await embed(question(text)));
  console.log(JSON.stringify(vectors));
}
