// What the page says about an answer, in plain words.
import { percent } from "./drawing.js";

/** The headline for what is shown (`found`). */
export function headline(found) {
  if (!found.length) return "No known leaf found";
  return found.length === 1 ? "1 possible leaf" : `${found.length} possible leaves`;
}

/** What everybody must know of this model first, or "". As in its card. */
export const warning = (info) =>
  info.note ? `The pictures it learned from were ${info.note}: it is of no use on real leaves.` : "";

/** Who answered, and what it can answer at all. */
export function source({ model, milliseconds }, info) {
  const kinds = info.classes?.length ? ` It knows ${info.classes.length} kinds of leaves and calls every leaf one of these.` : "";
  return `${model} answered in ${Math.max(1, Math.round(milliseconds))} ms.${kinds}`;
}

/** What can be done about it, or "": `all` is everything that came, `usual` the model's own threshold. */
export function hint(all, found, threshold, usual) {
  const weaker = all.length - found.length;
  if (found.length) {
    return threshold < usual ? `Below ${percent(usual)} the model is wrong more often: take these as weak guesses.` : "";
  }
  const nothing = `Nothing scores ${percent(threshold)} or more`;
  if (weaker) {
    const guesses = weaker === 1 ? "1 weaker guess" : `${weaker} weaker guesses`;
    return `${nothing}. Move the slider to the left to see ${guesses}; the best one scores ${percent(all[0].score)}.`;
  }
  return `${nothing}, and there is not even a weak guess. A photo from nearer, in daylight, with the leaf sharp and large, may help.`;
}
