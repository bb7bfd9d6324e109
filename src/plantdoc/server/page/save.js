// What is found, as a file to keep.
import { drawBoxes } from "./drawing.js";
import { sides } from "./image.js";

/** A copy of the picture with its boxes (PNG Blob), as large as what was sent. */
export function asPicture({ photo }, found) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = sides(photo.image);
  const context = canvas.getContext("2d");
  context.drawImage(photo.image, 0, 0, canvas.width, canvas.height);
  const letter = Math.max(11, Math.round(Math.min(canvas.width, canvas.height) / 32));
  drawBoxes(context, found, [canvas.width / photo.width, canvas.height / photo.height], letter, null);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

/** The same as JSON (Blob), boxes [x, y, width, height] in pixels of the picture as chosen, upright. */
export function asJson({ name, photo, answer }, found, threshold) {
  const detections = found.map(({ box, score, class_id, class_name }) => ({
    box: box.map((value) => Math.round(value * 100) / 100), score, class_id, class_name,
  }));
  const { width, height } = photo;
  const content = { picture: name, width, height, model: answer.model, threshold, detections };
  return new Blob([JSON.stringify(content, null, 1) + "\n"], { type: "application/json" });
}

/** Let the browser save `blob` under the picture's name with another ending. */
export function save(blob, name, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replace(/\.[^.]*$/, "") + ending;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser reads it some time after the click
}
