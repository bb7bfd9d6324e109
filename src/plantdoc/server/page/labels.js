// Where the labels of boxes go: inside the picture, and never over each other.

const touch = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

/** The spots above, in and below a box (x0, y0, x1, y1) for a tag of w × h, the best first. */
function* spots([x0, y0, x1, y1], w, h) {
  for (const y of [y0 - h, y0, y1, y1 - h, (y0 + y1 - h) / 2]) {
    for (const x of [x0, x1 - w, (x0 + x1 - w) / 2]) yield { x, y, w, h };
  }
}

/**
 * Position the label of each box.
 *
 * wanted: [{corners: [x0, y0, x1, y1], sizes: [[w, h], …]}], the most important first; `sizes` from the full label to
 *   the shortest form of it.
 * width, height: of the picture, in the same unit.
 *
 * Returns [{x, y, w, h, form} | null], `form` the index into `sizes`; null where nothing found room.
 */
export function positionLabels(wanted, width, height) {
  const taken = [];
  return wanted.map(({ corners, sizes }) => {
    for (const [form, [w, h]] of sizes.entries()) {
      if (w > width || h > height) continue;
      for (const spot of spots(corners, w, h)) {
        // Clamped into the picture; a tag over its box's edge still reads.
        spot.x = Math.max(0, Math.min(spot.x, width - w));
        spot.y = Math.max(0, Math.min(spot.y, height - h));
        if (taken.some((other) => touch(spot, other))) continue;
        taken.push(spot);
        return { ...spot, form };
      }
    }
    return null;
  });
}
