// Boxes and names on a picture.
import { positionLabels } from "./labels.js";

// As in the reports (plantdoc.visualize.drawing): Okabe & Ito, "Color Universal Design" (2008); neighbours lie far apart.
const BASE = [[213, 94, 0], [86, 180, 233], [240, 228, 66], [0, 114, 178], [204, 121, 167], [230, 159, 0], [0, 158, 115], [153, 153, 153]];
const SHADES = [0, 0.5, -0.4, 0.25]; // towards white (> 0) or black (< 0), one for each time round the base colours
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const INK = "#222";

/** The colour [r, g, b] of a class id. */
export function colourOf(id) {
  const shade = SHADES[Math.floor(id / BASE.length) % SHADES.length];
  const target = shade > 0 ? 255 : 0;
  return BASE[id % BASE.length].map((value) => Math.round(value + (target - value) * Math.abs(shade)));
}

/** Black or white, whichever is easier to read on a colour [r, g, b] (WCAG's contrast). */
export function inkOn(colour) {
  const [r, g, b] = colour.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

/**
 * Draw boxes over what `context` shows.
 *
 * found: [{number, box: [x, y, w, h], class_id, class_name, score}], the most important first.
 * scale: [x, y], what to multiply a box with to get pixels of the canvas.
 * letter: height of the letters in pixels of the canvas; lines follow it.
 * lit: number of the one to point out; the others step back.
 */
export function drawBoxes(context, found, scale, letter, lit) {
  const { width, height } = context.canvas;
  const line = Math.max(2, letter / 5);
  context.save();
  context.font = `600 ${letter}px ${FONT}`;
  context.textBaseline = "middle";
  [context.direction, context.textAlign] = ["ltr", "left"]; // tags are laid out from the left on any page
  context.lineJoin = "miter";
  const items = found.map((one) => item(context, one, scale, letter, line));
  const tags = positionLabels(items, width, height);
  const last = items.findIndex((each) => each.number === lit);
  if (last >= 0) {
    // The one pointed out has its full label, whatever that covers: the others are pale.
    tags[last] = positionLabels([items[last]], width, height)[0];
    context.globalAlpha = 0.3;
  }
  items.forEach((each, i) => i !== last && drawBox(context, each, line));
  items.forEach((each, i) => i !== last && tags[i] && drawTag(context, each, tags[i], letter));
  if (last >= 0) {
    context.globalAlpha = 1;
    drawBox(context, items[last], line * 1.5);
    if (tags[last]) drawTag(context, items[last], tags[last], letter);
  }
  context.restore();
}

function item(context, { number, box, class_id, class_name, score }, [scaleX, scaleY], letter, line) {
  const { width, height } = context.canvas;
  const texts = [`${number}  ${class_name} ${percent(score)}`, `${number}  ${class_name}`, `${number}`];
  const sizes = texts.map((text) => [Math.ceil(context.measureText(text).width + letter * 0.7), Math.ceil(letter * 1.5)]);
  const half = line / 2;
  // Lines lie on the edges of the box, but never partly outside of the picture.
  const [x0, y0] = [Math.max(half, box[0] * scaleX), Math.max(half, box[1] * scaleY)];
  const [x1, y1] = [Math.min(width - half, (box[0] + box[2]) * scaleX), Math.min(height - half, (box[1] + box[3]) * scaleY)];
  return { number, texts, sizes, colour: colourOf(class_id), corners: [x0, y0, Math.max(x0, x1), Math.max(y0, y1)] };
}

function drawBox(context, { corners: [x0, y0, x1, y1], colour }, line) {
  // The dark rim keeps a box visible on ground of its own colour.
  for (const [style, thick] of [[INK, line + 2], [`rgb(${colour})`, line]]) {
    context.strokeStyle = style;
    context.lineWidth = thick;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
}

function drawTag(context, { texts, colour }, { x, y, w, h, form }, letter) {
  context.fillStyle = INK;
  context.fillRect(x, y, w, h);
  context.fillStyle = `rgb(${colour})`;
  context.fillRect(x + 1, y + 1, w - 2, h - 2);
  context.fillStyle = inkOn(colour);
  context.fillText(texts[form], x + letter * 0.35, y + h / 2 + letter * 0.05);
}

/** A score 0..1 in words: whole percents; never "100 %", which would say certain. */
export const percent = (score) => `${Math.min(99, Math.round(score * 100))} %`;
