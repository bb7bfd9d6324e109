// The page: a picture goes in, and what the server finds in it is shown. One answer is asked for per picture, with a
// low threshold; the slider then chooses among what came.
import { describe, make } from "./list.js";
import { asShown, read, sides } from "./image.js";
import { asJson, asPicture, save } from "./save.js";
import * as server from "./server.js";
import { at, fit, found, hover, lowest, render, state, threshold, unhover, update } from "./view.js";
import { headline, warning } from "./words.js";

let stop = new AbortController(); // ends what is under way when another picture comes

/** Show a picture and what is found in it. `get(signal)` gives its Blob; only the last call's picture is shown. */
async function show(name, get) {
  stop.abort();
  stop = new AbortController();
  const { signal } = stop;
  Object.assign(state, { shot: null, threshold: null, lit: null });
  complain("");
  at("others").hidden = true;
  say(`Reading ${name} …`, true);
  try {
    const file = await get(signal);
    await started;
    const photo = await read(file, state.info);
    if (signal.aborted) return;
    state.shot = { name, photo, answer: null, failed: false, all: [] };
    render();
    at("result").scrollIntoView({ block: "nearest" });
    say(photo.smaller ? `${name} is large and was made smaller. Looking for leaves …` : `Looking for leaves in ${name} …`, true);
    const answer = await ask(photo, signal);
    if (signal.aborted) return;
    Object.assign(state.shot, { answer, all: numbered(answer, photo) });
    render();
    say(headline(found()));
    learn();
  } catch (error) {
    if (signal.aborted) return;
    if (state.shot) state.shot.failed = true;
    render();
    say("");
    if (!(error instanceof server.Failure)) console.error(error);
    complain(`${name}: ${error instanceof server.Failure ? error.message : "Something went wrong in this page."}`);
  }
}

async function ask(photo, signal) {
  const answer = await server.detect(photo.body, lowest(), signal);
  const [width, height] = sides(photo.image);
  if (width === height || width > height === answer.width > answer.height) return answer;
  // Browser and server turn this file differently: what is shown here is what counts.
  return server.detect(await asShown(photo, state.info), lowest(), signal);
}

/** The detections with a number each, the surest first, boxes in pixels of the file as chosen. */
function numbered(answer, photo) {
  const scale = [photo.width / answer.width, photo.height / answer.height];
  return [...answer.detections]
    .sort((a, b) => b.score - a.score)
    .map((one, i) => ({ ...one, number: i + 1, box: one.box.map((value, side) => value * scale[side % 2]) }));
}

function say(text, looking = false) {
  at("status").textContent = text;
  document.body.classList.toggle("looking", looking);
  at("result").setAttribute("aria-busy", looking);
}

function complain(text) {
  at("error").textContent = text;
  at("error").hidden = !text;
}

/** Show one of the files that were chosen, taken, dropped or pasted: the first that is a picture. */
function take(files) {
  mark(null);
  const file = [...files].find(({ type }) => type.startsWith("image/")) ?? files[0];
  if (!file) return complain("That was no file. Choose a photo.");
  const name = file.name || "pasted picture";
  show(name, async () => file);
  at("others").textContent = `One photo at a time: of ${files.length} files, ${name} is looked at.`;
  at("others").hidden = files.length === 1;
}

function mark(chosen) {
  for (const button of at("examples").querySelectorAll("button")) button.toggleAttribute("aria-current", button === chosen);
}

function offer(examples) {
  const items = examples.map(({ name, url }, i) => {
    const address = url.replace(/^\//, ""); // relative, as everything here
    const picture = make("img", { src: address, alt: "", loading: "lazy" });
    const button = make("button", { type: "button", "aria-label": `Example ${i + 1}` }, picture);
    button.addEventListener("click", () => {
      mark(button);
      show(name, (signal) => server.file(address, signal));
    });
    return make("li", {}, button);
  });
  at("examples").querySelector("ul").replaceChildren(...items);
  at("examples").hidden = !items.length;
}

/** Take in what is served; what the server does not know (null) stays as it was. */
function know(info) {
  Object.assign(state.info, Object.fromEntries(Object.entries(info).filter(([, value]) => value !== null)));
  describe(at("about"), info);
  at("note").textContent = warning(info);
  at("note").hidden = !info.note;
}

/** Ask again for the model's own threshold: a server in front of a model elsewhere knows it some time after an answer. */
async function learn() {
  for (const pause of [0, 500, 1500, 4000]) {
    if (state.info.threshold !== null) return;
    await new Promise((done) => setTimeout(done, pause));
    try {
      know(await server.info());
    } catch {
      return; // what is assumed stays
    }
    if (state.info.threshold === null) continue;
    update();
    if (state.shot?.answer) say(headline(found()));
  }
}

/** Ask what is served; pictures wait for this, since it says how large they may be. */
async function start() {
  const [info, examples] = await Promise.allSettled([server.info(), server.examples()]);
  if (info.status === "fulfilled") know(info.value);
  else complain(info.reason.message);
  if (examples.status === "fulfilled") offer(examples.value);
}

for (const [button, input] of [["choose", "file"], ["take", "camera"]]) {
  at(button).addEventListener("click", () => at(input).click());
  at(input).addEventListener("change", ({ target }) => {
    if (target.files.length) take([...target.files]);
    target.value = ""; // so that the same file can be chosen again
  });
}

const carries = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!carries(event)) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", ({ relatedTarget }) => relatedTarget || document.body.classList.remove("dropping"));
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (!carries(event)) return;
  event.preventDefault();
  take([...event.dataTransfer.files]);
});
document.addEventListener("paste", ({ clipboardData }) => clipboardData?.files.length && take([...clipboardData.files]));

at("threshold").addEventListener("input", ({ target }) => {
  state.threshold = Number(target.value);
  update();
  say(headline(found())); // heard, not seen
});
at("usual").addEventListener("click", () => {
  state.threshold = null;
  update();
  at("threshold").focus(); // the button is gone
});
at("save-json").addEventListener("click", () => save(asJson(state.shot, found(), threshold()), state.shot.name, ".json"));
at("save-picture").addEventListener("click", async () => {
  const { shot } = state;
  save(await asPicture(shot, found()), shot.name, "-leaves.png");
});
if (/Mac/.test(navigator.platform)) at("key").textContent = "⌘";
at("canvas").addEventListener("pointermove", hover);
at("canvas").addEventListener("pointerleave", unhover);
new ResizeObserver(() => requestAnimationFrame(fit)).observe(at("canvas").parentElement);

const started = start();
