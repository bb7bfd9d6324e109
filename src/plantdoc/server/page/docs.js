// Puts this server's own address and limits into the documentation; without them it still reads.
import { info } from "./server.js";

const WRITTEN = "http://localhost:8080";
const here = new URL(".", location.href).href.replace(/\/$/, "");
for (const code of document.querySelectorAll("pre code")) code.textContent = code.textContent.replaceAll(WRITTEN, here);

const say = {
  threshold: (value) => ` (${Number(value.toPrecision(3))})`,
  max_bytes: (value) => `${value / 1e6} MB`,
  max_pixels: (value) => `${value / 1e6} million`,
};
try {
  const known = await info();
  for (const place of document.querySelectorAll("[data-info]")) {
    const value = known[place.dataset.info];
    if (typeof value === "number") place.textContent = say[place.dataset.info](value);
  }
} catch {
  // what stands in the page holds for a server that was not told otherwise
}
