// Vectors of questions and documents from Ollama, prompts applied. Node 18 or newer, no packages.
//
//   import { embedDocuments, embedQueries } from "./client.mjs";
//
// Print one from the command line: node client.mjs "a question" [URL] [DIM]
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const load = (name) => JSON.parse(readFileSync(new URL(name, import.meta.url), "utf-8"));
const prompts = load("prompts.json");
const { model_tag: model, artifacts } = load("manifest.json");
const { artifact } = artifacts[0];
const dims = artifact.matryoshka_dims.length ? artifact.matryoshka_dims : [artifact.dim];
const form = artifact.options.unicode_form;
const OLLAMA = "http://localhost:11434";

/** A vector of length 1 for each question; dim: one of the model's smaller ones. */
export const embedQueries = (texts, url = OLLAMA, dim = undefined) =>
  embed(texts.map((text) => apply(prompts.query, { text: text.trim() })), url, dim);

/** A vector of length 1 for each [title, text]. */
export const embedDocuments = (pairs, url = OLLAMA, dim = undefined) =>
  embed(pairs.map(([title, text]) => document(title.trim(), text.trim())), url, dim);

/** What is sent for a document; one without a title has a template of its own. */
const document = (title, text) =>
  apply(title ? prompts.document : prompts.document_without_title, { title, text });

/** Fill in {title} and {text} in one go: braces in a text stay as they are. */
function apply(template, values) {
  return template.replace(/\{(title|text)\}/g, (mark, name) => values[name] ?? mark);
}

// truncate: false makes a text over the model's limit an error: Ollama cuts it elsewhere than the
// original does, and says nothing.
async function embed(input, url, dim) {
  if (dim !== undefined && !dims.includes(dim)) {
    throw new RangeError(`dim ${dim} is none of ${dims.join(", ")}`);
  }
  // The original's tokenizer composes characters, llama.cpp's does not.
  if (form) input = input.map((text) => text.normalize(form));
  const answer = await fetch(url.replace(/\/+$/, "") + "/api/embed", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ model, input, truncate: false }),
    redirect: "error",
    signal: AbortSignal.timeout(300_000),
  });
  if (!answer.ok) throw new Error(`${answer.url} answered ${answer.status}: ${await answer.text()}`);
  const { embeddings } = await answer.json();
  return embeddings.map((row) => unit(row.slice(0, dim)));
}

function unit(row) {
  const length = Math.hypot(...row);
  return row.map((value) => value / length);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , question, url, dim] = process.argv;
  if (question === undefined) {
    console.error('error: ask something: node client.mjs "a question" [URL] [DIM]');
    process.exit(2);
  }
  try {
    const [row] = await embedQueries([question], url, dim === undefined ? dim : Number(dim));
    console.log(JSON.stringify(row));
  } catch (error) {
    console.error(`error: ${url ?? OLLAMA}: ${error.cause?.message ?? error.message}; is Ollama running there?`);
    process.exit(1);
  }
}
