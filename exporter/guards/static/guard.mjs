// Does an application's embed function still give vectors of the space its index lies in?
//
//     import { check } from "./guard.mjs";
//     const found = await check(space, embed); // embed("a question") -> an array of numbers
//     if (!found.ok) throw new Error(found.said);
//
// Two short texts are embedded; { long: true } adds a long one, which shows where a server cuts. The
// verdict is "same space", "same model, other prompt", "another space" or "truncating at N".
// { role: "document" } asks the function that embeds documents: embed(text, title). `differences`
// compares two spaces without embedding anything. No dependencies; guard.py and guard.go do the same.

const HALF_WAY = 0.5; // from the right vectors to those of another prompt; beyond it that is the nearer
const NEAR = 0.05; // 1 - cosine that rounding to 4 bits stays within, and another model does not

// Returns { ok, verdict, said, distance, tolerance } for an application's own `embed`, sync or async.
// space: the content of a space.json. distance: the largest 1 - cosine of the short texts. Errors of
// `embed` are the caller's.
export async function check(space, embed, { role = "query", long = false } = {}) {
  const probes = space.probes;
  if (!probes) throw new Error("this space holds no probes: take that of a package or of a table");
  const widths = [space.dim, ...space.dims];
  const rows = [];
  for (const probe of probes[role]) {
    const row = await ask(embed, role, probe);
    const wrong = unusable(row, widths);
    if (wrong) return found("another space", wrong, null, probe);
    rows.push(row);
  }
  const far = rows.map((row, i) => distance(row, probes[role][i].vector));
  const over = far.map((d, i) => d / probes[role][i].tolerance);
  const worst = over.indexOf(Math.max(...over));
  const of = [far[worst], probes[role][worst]];
  const prompt = otherPrompt(probes[role], rows, probes.width);
  if (prompt !== null) {
    const own = space.prompts[role];
    const said = `texts are embedded with the prompt ${JSON.stringify(prompt)} or one like it, the index asks for ${JSON.stringify(own)}`;
    return found("same model, other prompt", said, ...of);
  }
  if (far[worst] > of[1].tolerance) {
    const near = Math.max(...far) < NEAR;
    const what = near ? "another file of this model, or texts changed on their way" : "another model";
    const said = `${what}: ${short(far[worst])} away (1 - cosine), at most ${short(of[1].tolerance)} is right`;
    return found("another space", said, ...of);
  }
  if (long && probes[`long_${role}`]) {
    const cut = await truncated(probes[`long_${role}`], embed, role, widths, probes.width);
    if (cut) return found(...cut, ...of);
  }
  return found("same space", `vectors of ${space.model_name}, as ${space.artifact} gives them`, ...of);
}

// Returns a line for each thing in which two spaces differ, none where vectors may be compared.
export function differences(one, other) {
  const lines = [];
  for (const [key, what] of [
    ["model_sha256", "model"],
    ["pipeline", "modules"],
    ["prompts", "prompts"],
    ["sliding_window", "sliding window"],
    ["max_tokens", "limit in tokens"],
    ["normalized", "normalization"],
  ]) {
    if (plain(one[key]) === plain(other[key])) continue;
    const shown = key === "model_sha256" ? "model_name" : key;
    lines.push(`another ${what}: ${JSON.stringify(one[shown])} and ${JSON.stringify(other[shown])}`);
  }
  const theirs = new Set([other.dim, ...other.dims]);
  if (![one.dim, ...one.dims].some((width) => theirs.has(width)))
    lines.push(`no width in common: ${one.dim} and ${other.dim} components`);
  return lines;
}

function plain(value) {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return JSON.stringify(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

async function ask(embed, role, probe) {
  const given = await (role === "query" ? embed(probe.text) : embed(probe.text, probe.title));
  return Array.from(given, Number);
}

function unusable(row, widths) {
  if (!widths.includes(row.length)) return `vectors of ${row.length} components, this space has ${widths[0]}`;
  const length = Math.hypot(...row);
  return length > 0 && length < Infinity ? null : "a vector that is zero or holds no numbers";
}

function otherPrompt(probes, rows, width) {
  let [best, said] = [HALF_WAY, null];
  probes[0].others.forEach((other, j) => {
    let [along, total, moved, left] = [0, 0, 0, 0];
    probes.forEach((probe, i) => {
      const size = Math.min(width, rows[i].length);
      const [right, given, wrong] = [probe.vector, rows[i], probe.others[j].vector].map((v) => unit(v.slice(0, size)));
      for (let k = 0; k < size; k++) {
        along += (given[k] - right[k]) * (wrong[k] - right[k]);
        total += (wrong[k] - right[k]) ** 2;
        moved += (given[k] - right[k]) ** 2;
        left += (given[k] - wrong[k]) ** 2;
      }
    });
    if (along > HALF_WAY * total && left < best * moved) [best, said] = [left / moved, other.prompt];
  });
  return said;
}

async function truncated(probe, embed, role, widths, width) {
  const row = await ask(embed, role, probe);
  const wrong = unusable(row, widths);
  if (wrong) return ["another space", wrong];
  const far = distance(row, probe.vector);
  const size = Math.min(width, row.length);
  const given = row.slice(0, size);
  const whole = distance(given, probe.vector);
  const cuts = probe.cuts.map((cut) => [distance(given, cut.vector), cut.tokens]);
  const [nearest, tokens] = cuts.reduce((a, b) => (b[0] < a[0] ? b : a));
  if (nearest < HALF_WAY * whole || (far > probe.tolerance && nearest < whole))
    return [`truncating at ${tokens}`, `texts are cut at ${tokens} tokens, or near it; this one has ${probe.tokens}`];
  if (far > probe.tolerance)
    return [
      "another space",
      `short texts agree, a long one is ${short(far)} away (1 - cosine), at most ${short(probe.tolerance)} is right: another sliding window, or cut elsewhere`,
    ];
  return null;
}

function found(verdict, said, distance, probe) {
  return { ok: verdict === "same space", verdict, said, distance, tolerance: probe.tolerance };
}

// 1 - cosine over the components that both have.
function distance(row, vector) {
  const [a, b] = [unit(row), unit(vector.slice(0, row.length))];
  return 1 - a.reduce((sum, value, i) => sum + value * b[i], 0);
}

function unit(row) {
  const length = Math.hypot(...row);
  return row.map((value) => value / length);
}

function short(value) {
  return value.toExponential(1).replace(/e([+-])(\d)$/, "e$10$2"); // as Python and Go write it
}
