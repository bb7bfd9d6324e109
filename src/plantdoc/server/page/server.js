// What the page asks its server. Addresses are relative, so that it also works below a path, behind a proxy.

/** A failure with words for the person at the page. */
export class Failure extends Error {}

const BY_STATUS = {
  401: "The server wants a key or a login that this page does not have.",
  403: "The server does not allow this page to ask.",
  413: "The picture is too large for the server.",
  429: "There are too many requests now. Wait some seconds and try again.",
  502: "The server in front could not reach the model. Try again in a moment.",
  503: "The model cannot answer now; it may be starting. Try again in a minute.",
  504: "The model took too long. Try again in a moment.",
};

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

/**
 * Ask for `path` (relative).
 * Throws Failure with the server's own words where it gave any, and AbortError where `options.signal` says stop.
 */
async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server cannot be reached. Is it still running, and are you online?");
  }
  if (response.ok) return response;
  let said;
  try {
    said = (await response.json()).error.message;
  } catch {
    said = undefined; // not ours: a proxy between, or nothing at all
  }
  throw new Failure((said && sentence(said)) || BY_STATUS[response.status] || `The server answered with error ${response.status}.`);
}

async function json(path, options) {
  const response = await ask(path, options);
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server's answer cannot be read. Is this the plant-disease detector's server?");
  }
}

/** What is served: model, threshold, max_bytes, max_pixels, classes, scores, note, attribution, trace, source. */
export const info = () => json("info");

/** Pictures to try: [{name, url}]. */
export const examples = () => json("examples");

/** The file at `url` (Blob). */
export const file = async (url, signal) => (await ask(url, { signal })).blob();

/**
 * Where leaves are in `body` (Blob of a type the server takes): all guesses from `threshold` on, at most 100.
 * Returns {model, milliseconds, threshold, width, height, detections: [{box, score, class_id, class_name}]}.
 */
export async function detect(body, threshold, signal) {
  const options = { method: "POST", body, signal, headers: { "Content-Type": body.type } };
  const answer = await json(`invocations?threshold=${threshold}&max=100`, options);
  if (answer.error) throw new Failure(sentence(answer.error.message));
  return answer;
}
