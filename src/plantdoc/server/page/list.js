// The table of what was found, and what is said about the model.
import { colourOf, inkOn, percent } from "./drawing.js";

/** An element with classes and children; text is only ever put in as text. */
export function make(tag, { className, ...rest } = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const [name, value] of Object.entries(rest)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * Fill the body of a table, a row for each of `found` (as in drawing.js); `onPoint(number | null)` is called when a row
 * is pointed at or has the focus, and when it no longer is.
 */
export function fill(body, found, onPoint) {
  body.replaceChildren(...found.map((one) => row(one, onPoint)));
}

function row({ number, box, class_id, class_name, score }, onPoint) {
  const colour = colourOf(class_id);
  const [x, y, w, h] = box.map(Math.round);
  const tag = make("span", { className: "number" }, String(number));
  [tag.style.background, tag.style.color] = [`rgb(${colour})`, inkOn(colour)];
  const level = make("i");
  level.style.width = `${score * 100}%`;
  const name = make("button", { type: "button", "aria-label": `${class_name}, ${percent(score)}: show its box` }, class_name);
  const line = make(
    "tr",
    { "data-number": number },
    make("td", {}, tag),
    make("td", {}, name),
    make("td", {}, make("div", { className: "score" }, make("span", { className: "bar", "aria-hidden": "true" }, level), percent(score))),
    make("td", { className: "box" }, make("span", {}, `${x}, ${y}, `), make("span", {}, `${w} × ${h}`)),
  );
  for (const event of ["pointerenter", "focusin"]) line.addEventListener(event, () => onPoint(number));
  for (const event of ["pointerleave", "focusout"]) line.addEventListener(event, () => onPoint(null));
  name.addEventListener("click", () => onPoint(number));
  return line;
}

/** Say in `list` (a dl) what the server tells of its model; what it does not tell is left out. */
export function describe(list, info) {
  const { map50, map50_low, map50_high, pictures } = info.scores || {};
  const known = (value) => typeof value === "number";
  const score = known(map50) && [
    `mAP@50 ${map50.toFixed(2)}`,
    known(map50_low) && known(map50_high) ? ` (95 % interval ${map50_low.toFixed(2)} to ${map50_high.toFixed(2)})` : "",
    known(pictures) ? ` on ${pictures} test pictures` : "",
    "; 1 would be without fault",
  ];
  const classes = info.classes?.length && [
    make("details", {}, make("summary", {}, `${info.classes.length} kinds of leaves`), info.classes.join(" · ")),
  ];
  const entries = [
    ["Model", info.model && [make("code", {}, info.model)]],
    ["Answers from", { sagemaker: ["a SageMaker endpoint"], api: ["the public API"] }[info.source]],
    ["Test score", score],
    ["Knows", classes],
    ["Pictures", info.attribution && [info.attribution]],
    ["Where it comes from", info.trace && [trace(info.trace)]],
  ];
  list.replaceChildren(
    ...entries.filter(([, value]) => value).flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, ...value)]),
  );
}

const trace = (text) =>
  /^https?:\/\//.test(text) ? make("a", { href: text, rel: "noreferrer" }, text) : make("code", {}, text);
