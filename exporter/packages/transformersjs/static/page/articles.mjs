// Articles in JSON lines: {"_id", "title", "text"}, as in BEIR's corpus.jsonl.
import { say } from "./words.mjs";

/** Return the articles of a file. Throws, naming the line, where one cannot be used. */
export function parseArticles(content) {
  const articles = [];
  content.replace(/^\ufeff/, "").split("\n").forEach((line, index) => {
    if (!line.trim()) return;
    const fail = (why) => { throw new Error(say.badArticles(index + 1, why)); };
    let record;
    try {
      record = JSON.parse(line);
    } catch {
      fail(say.noJson);
    }
    if (record === null || typeof record !== "object" || Array.isArray(record)) fail(say.noJson);
    if (typeof record.text !== "string" || !record.text.trim()) fail(say.noText);
    articles.push({
      _id: String(record._id ?? index + 1), title: String(record.title ?? ""), text: record.text,
    });
  });
  if (!articles.length) throw new Error(say.noArticles);
  return articles;
}
