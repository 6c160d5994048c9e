// Vectors of the packaged articles: a float32 scale for each, then whole numbers, little-endian.
const SCALE_BYTES = 4;

/** Fetch the vectors that `about` describes. Throws where they are not those of `count` articles. */
export async function fetchVectors({ file, bits, dim }, count) {
  const answered = await fetch(new URL(`../${file}`, import.meta.url), { cache: "no-cache" });
  if (!answered.ok) throw new Error(`${file}: ${answered.status}`);
  const buffer = await answered.arrayBuffer();
  if (buffer.byteLength !== count * (SCALE_BYTES + (dim * bits) / 8)) {
    throw new Error(`${file}: ${buffer.byteLength}`);
  }
  const scales = new Float32Array(buffer, 0, count);
  const codes = new (bits === 8 ? Int8Array : Int16Array)(buffer, count * SCALE_BYTES);
  return Array.from(scales, (scale, i) => ({ scale, codes: codes.subarray(i * dim, (i + 1) * dim) }));
}

/** Return the inner product of a question with an article, its vector plain or packaged. */
export function scoreOf(question, vector) {
  const codes = vector.codes ?? vector;
  let score = 0;
  for (let k = 0; k < question.length; k++) score += question[k] * codes[k];
  return score * (vector.scale ?? 1);
}
