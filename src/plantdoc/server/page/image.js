// From a file to a picture that is shown and a body that is sent.
import { Failure } from "./server.js";

export const LONGEST = 4096; // px; more is not needed to find leaves, and phones draw no larger canvas
const SENT_AS_IT_IS = ["image/jpeg", "image/png", "image/webp"];
const QUALITY = 0.92;

/**
 * Read a picture.
 *
 * file: Blob, of any type that the browser can show.
 * limits: {max_bytes, max_pixels} of the server; one that it does not tell does not count.
 *
 * Returns {image, width, height, body, smaller}: `image` is drawable and upright, `width` and `height` are the file's
 * own as displayed (px), `body` is the Blob to send, and `smaller` says whether it was made smaller.
 * Throws Failure where the browser cannot show it.
 */
export async function read(file, limits) {
  const image = await decoded(file);
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const [most, pixels] = [known(limits.max_bytes), known(limits.max_pixels)];
  const scale = Math.min(1, LONGEST / Math.max(width, height), Math.sqrt(pixels / (width * height)));
  const plain = SENT_AS_IT_IS.includes(file.type) && !(await notedWebp(file));
  if (plain && scale === 1 && file.size <= most) {
    return { image, width, height, body: file, smaller: false };
  }
  const shown = scale < 1 ? scaled(image, width * scale, height * scale) : image;
  const body = await encoded(shown, width * scale, height * scale, most);
  return { image: shown, width, height, body, smaller: scale < 1 || file.size > most };
}

/** A limit, or none: with 0, null or no number a picture would be made smaller without an end. */
const known = (limit) => (limit > 0 ? limit : Infinity);

/** The picture as it is shown (upright, on a canvas) as a JPEG, for where browser and server see a file differently. */
export const asShown = (photo, limits) => encoded(photo.image, ...sides(photo.image), known(limits.max_bytes));

/** Width and height (px) of what `read` returns as `image`. */
export const sides = (image) => [image.naturalWidth || image.width, image.naturalHeight || image.height];

/** Is it a WebP with notes of its camera (EXIF)? Not all browsers turn such a picture; the server does. */
async function notedWebp(file) {
  const head = new Uint8Array(await file.slice(0, 21).arrayBuffer());
  return String.fromCharCode(...head.slice(8, 16)) === "WEBPVP8X" && (head[20] & 8) !== 0;
}

async function decoded(file) {
  const url = URL.createObjectURL(file);
  const image = new Image();
  image.src = url;
  try {
    await image.decode(); // upright: browsers turn it by its EXIF orientation
  } catch {
    throw new Failure("That is no picture this browser can show. Choose a JPEG, PNG or WebP file.");
  } finally {
    URL.revokeObjectURL(url);
  }
  if (!image.naturalWidth || !image.naturalHeight) throw new Failure("That picture has no size. Choose a photo.");
  return image;
}

/** `image` drawn at another size (px); in halves, since browsers look at few pixels when they shrink. */
function scaled(image, width, height) {
  let [w, h] = sides(image);
  for (let last = false; !last; ) {
    last = w / 2 <= width;
    // Down, so that a limit on pixels holds; 4095.999… is 4096.
    [w, h] = (last ? [width, height] : [w / 2, h / 2]).map((side) => Math.max(1, Math.floor(side + 1e-6)));
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [w, h];
    const context = canvas.getContext("2d");
    context.fillStyle = "white"; // what the server lays a transparent picture over; a JPEG would have black
    context.fillRect(0, 0, w, h);
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, w, h);
    image = canvas;
  }
  return image;
}

/** A JPEG of `image` at `width` × `height`, made smaller until it has at most `most` bytes. */
async function encoded(image, width, height, most) {
  for (;;) {
    const canvas = scaled(image, width, height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
    if (!blob) throw new Failure("This browser cannot handle a picture of that size. Make it smaller first.");
    if (blob.size <= most || Math.max(width, height) < 64) return blob;
    [width, height] = [width * 0.8, height * 0.8];
  }
}
