// What transformers.js makes of a package's golden texts; `lawvault verify` compares the vectors.
// Node: prove.mjs reads {embed, transformers, dtype, pooling, texts} from standard input. Browser: imported.

/** Return ids and vectors of `texts`: by AutoModel, one by one, and by pipeline, padded together.
 * The pipeline gives null for the longest texts, which it cuts otherwise, unless `cut` is set. */
export async function prove(transformers, { openModel }, task) {
  const { dtype, device, texts, pooling, cut = false } = task;
  const model = await openModel(transformers, { dtype, device });
  const ids = texts.map(model.ids);
  const vectors = [];
  for (const text of texts) vectors.push([...(await model.embed(text))]);
  const folder = model.folder;
  await model.close(); // a second copy may not fit into a browser's memory

  const extract = await transformers.pipeline("feature-extraction", folder, {
    dtype, device, local_files_only: true,
  });
  // Long ones go alone, so that the others are not padded to their length.
  const longest = Math.max(...ids.map((row) => row.length));
  const short = texts.flatMap((_, i) => (ids[i].length * 4 < longest ? [i] : []));
  const long = texts.flatMap((_, i) =>
    !short.includes(i) && (cut || ids[i].length < longest) ? [[i]] : [],
  );
  const pooled = texts.map(() => null);
  for (const group of [short, ...long].filter((group) => group.length)) {
    const options = { pooling, normalize: true };
    const rows = (await extract(group.map((i) => texts[i]), options)).tolist();
    group.forEach((i, k) => (pooled[i] = rows[k]));
  }
  await extract.dispose();
  return { ids, vectors, pooled };
}

if (globalThis.process?.release?.name === "node") {
  let input = "";
  for await (const part of process.stdin) input += part;
  const task = JSON.parse(input);
  const transformers = await import(task.transformers);
  const answer = await prove(transformers, await import(task.embed), task);
  const { versions } = transformers.env.backends.onnx;
  console.log(JSON.stringify({ ...answer, versions, node: process.version }));
}
