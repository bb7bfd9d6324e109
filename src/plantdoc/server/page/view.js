// What is seen of a picture and its answer; everything here follows from `state`.
import { drawBoxes, percent } from "./drawing.js";
import { fill } from "./list.js";
import { sides } from "./image.js";
import { headline, hint, source } from "./words.js";

export const LOWEST = 0.05; // the lowest threshold of the slider, and what is asked for
const ASSUMED = 0.5; // the threshold as long as the server does not know the model's own
const ENLARGED = 3; // at most; small pictures are shown so much larger
const LETTER = 14; // px on the screen

export const at = (id) => document.getElementById(id);
export const state = {
  info: { threshold: null, max_bytes: 25_000_000, max_pixels: 64_000_000 }, // threshold: null: not known yet
  threshold: null, // null: the model's own
  // {name, photo (image.js), answer (null until it came), failed: whether none will, all: [detections with a number,
  // surest first]}
  shot: null,
  lit: null, // number of the detection pointed out
};
const base = document.createElement("canvas"); // the picture alone at the size shown

const usual = () => state.info.threshold ?? ASSUMED;
export const threshold = () => state.threshold ?? usual();
export const found = () => (state.shot?.all || []).filter((one) => one.score >= threshold());
export const lowest = () => Math.min(LOWEST, usual());

/** Show `state.shot`, or nothing. */
export function render() {
  const { shot } = state;
  at("result").hidden = !shot;
  if (!shot) return;
  const { width, height } = shot.photo;
  at("panel").hidden = !shot.answer;
  at("caption").textContent = `${shot.name} · ${width} × ${height} px`;
  if (shot.answer) at("answered").textContent = source(shot.answer, state.info);
  else at("canvas").setAttribute("aria-label", `${shot.name}: ${shot.failed ? "no answer" : "not looked at yet"}`);
  fit();
  update();
}

/** Give the canvas the room there is, in the screen's own pixels. */
export function fit() {
  const { shot } = state;
  if (!shot) return;
  const [width, height] = sides(shot.photo.image);
  const room = [at("canvas").parentElement.clientWidth, Math.max(260, innerHeight * 0.72)];
  const scale = Math.min(ENLARGED, room[0] / width, room[1] / height);
  const shown = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = at("canvas");
  [canvas.style.width, canvas.style.height] = shown.map((side) => `${side}px`);
  const ratio = devicePixelRatio || 1;
  for (const each of [canvas, base]) [each.width, each.height] = shown.map((side) => Math.round(side * ratio));
  const context = base.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(shot.photo.image, 0, 0, base.width, base.height);
  draw();
}

function draw() {
  const { shot, lit } = state;
  const canvas = at("canvas");
  const context = canvas.getContext("2d");
  context.drawImage(base, 0, 0);
  const scale = [canvas.width / shot.photo.width, canvas.height / shot.photo.height];
  drawBoxes(context, found(), scale, LETTER * (devicePixelRatio || 1), lit);
  for (const row of at("table").tBodies[0].rows) row.classList.toggle("lit", Number(row.dataset.number) === lit);
}

/** Show all that follows from the threshold. */
export function update() {
  const { shot, info } = state;
  if (!shot?.answer) return;
  const [seen, now] = [found(), threshold()];
  const slider = at("threshold");
  slider.min = lowest();
  slider.value = now;
  slider.setAttribute("aria-valuetext", percent(now));
  at("percent").textContent = percent(now);
  at("usual").hidden = state.threshold === null;
  at("usual").textContent = `Back to ${percent(usual())}`;
  at("assumed").textContent = `The model has not told its own threshold yet: ${percent(ASSUMED)} is assumed.`;
  at("assumed").hidden = info.threshold !== null;
  at("usual").title = "The model's own threshold";
  at("verdict").textContent = headline(seen);
  at("hint").textContent = hint(shot.all, seen, now, usual());
  at("hint").hidden = !at("hint").textContent;
  at("table").hidden = !seen.length;
  state.lit = null;
  fill(at("table").tBodies[0], seen, point);
  const list = seen.map((one) => `${one.class_name} ${percent(one.score)}`).join(", ");
  at("canvas").setAttribute("aria-label", `${shot.name}: ${list || "no box"}`);
  draw();
}

/** Point out a detection by its number, or none (null). */
function point(number) {
  if (number === state.lit) return;
  state.lit = number;
  draw();
}

/** Point out the smallest box below the pointer. */
export function hover(event) {
  if (!state.shot?.answer) return;
  const { width, height } = state.shot.photo;
  const frame = at("canvas").getBoundingClientRect();
  const x = ((event.clientX - frame.x) / frame.width) * width;
  const y = ((event.clientY - frame.y) / frame.height) * height;
  const below = found().filter(({ box: [left, top, w, h] }) => x >= left && x <= left + w && y >= top && y <= top + h);
  below.sort((a, b) => a.box[2] * a.box[3] - b.box[2] * b.box[3]);
  point(below[0]?.number ?? null);
}

export const unhover = () => state.shot && point(null);
