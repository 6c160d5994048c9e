// The search page: reads the articles, has the model embed what is not stored yet, answers.
import { DTYPES, read } from "../embed.mjs";
import { parseArticles } from "./articles.mjs";
import { measure, problemOf, tooLittle } from "./fit.mjs";
import { openStore } from "./store.mjs";
import { fetchVectors, scoreOf } from "./vectors.mjs";
import { language, say } from "./words.mjs";

const TEN = 10;
const ORDER = ["int8", "q4", "fp32", "fp16", "q4f16"]; // which is taken where nobody chose
const at = (id) => document.getElementById(id);
const show = (id, text) => {
  at(id).hidden = !text;
  at(id).textContent = text ?? "";
};
const megabytes = (bytes) => Math.round(bytes / 1e5) / 10;
let manifest, worker, store, artifact, articles, packaged, vectors, waiting, run = 0, asked = 0,
  held = false;

/** Ask the worker; it answers in the order it is asked. */
function ask(kind, task) {
  return new Promise((resolve, reject) => {
    const id = ++asked;
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, kind, ...task });
  });
}

function startWorker(onBytes) {
  worker?.terminate();
  waiting = new Map();
  worker = new Worker(new URL("worker.mjs", import.meta.url), { type: "module" });
  const mine = waiting;
  worker.onmessage = ({ data }) => {
    if (data.progress !== undefined) return onBytes(data.progress);
    const { resolve, reject } = mine.get(data.id);
    mine.delete(data.id);
    return data.error === undefined ? resolve(data) : reject(new Error(data.error));
  };
  worker.onerror = (event) => {
    event.preventDefault();
    for (const { reject } of mine.values()) reject(new Error(event.message ?? "worker"));
  };
}

function stage(text, share) {
  at("progress").hidden = !text;
  at("stage").textContent = text ?? "";
  if (share === undefined) at("bar").removeAttribute("value");
  else at("bar").value = share;
}

/** Load the chosen model. Articles of the package have their vectors beside them; those of the
 * reader's own that have none yet are embedded here. */
async function start() {
  const mine = ++run;
  const current = () => mine === run;
  const began = performance.now();
  at("go").disabled = false; // a question is held until the articles are read
  vectors = artifact = undefined;
  document.body.dataset.state = "loading";
  at("results").replaceChildren();
  show("problem");
  show("timing");
  const chosen = manifest.artifacts.find(({ artifact: a }) => a.scheme === at("artifact").value);
  const device = at("device").value;
  const size = measure(manifest, chosen);
  const problem = problemOf(size);
  if (problem) return stop(problem);
  try {
    const all = megabytes(size.bytes);
    startWorker((bytes) => {
      if (!current() || artifact === chosen.artifact) return;
      if (bytes < size.bytes) stage(say.loading(megabytes(bytes), all), bytes / size.bytes);
      else stage(say.starting);
    });
    stage(say.loading(0, all), 0);
    const fetched = packaged?.[chosen.artifact.scheme]
      ? fetchVectors(packaged[chosen.artifact.scheme], articles.length) : undefined;
    fetched?.catch(() => {}); // told when it is waited for
    const keep = [chosen, ...manifest.artifacts].map((one) => measure(manifest, one).cache);
    await ask("load", { dtype: DTYPES[chosen.artifact.scheme], device, keep });
    if (!current()) return;
    artifact = chosen.artifact;
    const found = fetched ? await fetched : [];
    if (!current()) return;
    for (const article of fetched ? [] : articles) {
      const key = [article.title, article.text];
      let vector = await store.get(size.vectors, key);
      if (vector === undefined) {
        ({ value: vector } = await ask("document", article));
        await store.put(size.vectors, key, vector);
      }
      if (!current()) return;
      found.push(vector);
      stage(say.reading(found.length, articles.length), found.length / articles.length);
    }
    vectors = found;
  } catch (error) {
    if (!current()) return;
    const mb = Math.round(size.needed / 1e6);
    stop(tooLittle(error) ? say.noMemory(mb) : say.failed(error.message));
    return;
  }
  stage();
  show("timing", say.ready(artifact.name, articles.length,
    ((performance.now() - began) / 1000).toFixed(1)));
  if (packaged) show("kept", say.packaged(vectors.length));
  else show("kept", store.keeps ? say.kept(vectors.length) : say.notKept);
  document.body.dataset.state = "ready";
  if (held) await answer();
}

function stop(sentence) {
  worker?.terminate();
  at("go").disabled = true;
  stage();
  show("problem", sentence);
  document.body.dataset.state = "stopped";
}

/** Answer what is typed, or hold it until the articles are read. */
async function answer(event) {
  event?.preventDefault();
  const question = at("question").value.trim();
  if (!question) return show("problem", say.empty);
  held = vectors === undefined;
  if (held) {
    if (document.body.dataset.state !== "stopped") show("timing", say.willAnswer);
    return;
  }
  show("problem");
  at("go").disabled = true;
  try {
    const { value: wanted, ms } = await ask("query", { text: question });
    const began = performance.now();
    const scored = vectors.map((vector, i) => (
      { score: scoreOf(wanted, vector), article: articles[i] }));
    scored.sort((a, b) => b.score - a.score || (a.article._id < b.article._id ? -1 : 1));
    const search = performance.now() - began;
    at("results").replaceChildren(...scored.slice(0, TEN).map(card));
    const device = at("device").value === "webgpu" ? say.gpu : say.cpu;
    show("timing", say.timing(artifact.name, device, ms.toFixed(0), vectors.length,
      search.toFixed(1)));
  } catch (error) {
    show("problem", say.failed(error.message));
  }
  at("go").disabled = false;
}

function card({ score, article }) {
  const item = document.createElement("li");
  item.dataset.id = article._id;
  const [head, title, figure, text] = ["h2", "span", "span", "p"].map((n) => document.createElement(n));
  title.textContent = article.title || article._id;
  figure.className = "score";
  figure.textContent = score.toFixed(3);
  head.append(title, figure);
  text.textContent = article.text;
  item.append(head, text);
  return item;
}

function option(select, value, text, disabled = false) {
  const made = new Option(text, value);
  made.disabled = disabled;
  at(select).append(made);
}

/** Offer what is packaged, and on what it can run here. */
async function offer() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  option("device", "wasm", say.cpu);
  if (adapter) option("device", "webgpu", say.gpu);
  const half = adapter?.features.has("shader-f16");
  const fill = () => {
    const kept = at("artifact").value;
    at("artifact").replaceChildren();
    for (const scheme of ORDER) {
      const found = manifest.artifacts.find(({ artifact: a }) => a.scheme === scheme);
      if (!found) continue;
      const cannot = at("device").value === "webgpu" && /f(p)?16$/.test(scheme) && !half;
      const size = megabytes(measure(manifest, found).bytes);
      const told = [found.artifact.name, `${size} MB`, say.noPass[found.verdict.verdict],
        cannot && say.noHalf];
      option("artifact", scheme, told.filter(Boolean).join(" · "), cannot);
    }
    if (kept && !at("artifact").querySelector(`[value="${kept}"]`).disabled) at("artifact").value = kept;
  };
  fill();
  at("device").onchange = () => { fill(); start(); };
  at("artifact").onchange = start;
}

async function open() {
  at("ask").onsubmit = answer;
  at("unserved").remove();
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-say]")) {
    element.textContent = say[element.dataset.say];
  }
  document.title = say.title;
  manifest = await read("manifest.json");
  const answered = await fetch(new URL("../articles.jsonl", import.meta.url), {
    cache: "no-cache",
  });
  if (!answered.ok) throw new Error(`articles.jsonl: ${answered.status}`);
  articles = parseArticles(await answered.text());
  const about = await read("articles.json");
  packaged = about.vectors;
  if (about.invented) show("notice", say.invented);
  else if (about.articles < about.of) {
    show("notice", say.part(about.articles, about.of));
    at("notice").className = "mild";
  }
  store = await openStore();
  await offer();
  at("own").onchange = async () => {
    const [file] = at("own").files;
    if (!file) return;
    try {
      articles = parseArticles(await file.text());
      packaged = undefined; // those are of other articles
      show("notice");
      await start();
    } catch (error) {
      show("problem", error.message);
    }
  };
  at("forget").onclick = async () => {
    await store.clear();
    show("kept", say.kept(0));
  };
  await start();
}

open().catch((error) => stop(say.failed(error.message)));
