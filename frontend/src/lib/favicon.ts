import type { DeploymentState } from "@/api/types";

/** Readable on dark and light tab bars. */
const COLORS: Readonly<Record<DeploymentState, string>> = {
  queued: "#c07d00", running: "#3f6fe0", success: "#1f8a4c", failure: "#d3343d", cancelled: "#7b8290",
};
/** Null stands for a ring that shows the progress. */
const SIGNS: Readonly<Record<DeploymentState, string | null>> = {
  queued: "M16 10v6l4 3",
  running: null,
  success: "M10 16.5l4 4 8-9",
  failure: "M11 11l10 10M21 11L11 21",
  cancelled: "M10 16h12",
};
const RADIUS = 13;
const ROUND = 2 * Math.PI * RADIUS;

function ring(color: string, fraction: number | null): string {
  const done = (fraction ?? 0.25) * ROUND;
  return `<circle cx="16" cy="16" r="${RADIUS}" fill="none" stroke="${color}" stroke-opacity=".28" stroke-width="5"/>`
    + `<circle cx="16" cy="16" r="${RADIUS}" fill="none" stroke="${color}" stroke-width="5" `
    + `stroke-dasharray="${done.toFixed(1)} ${ROUND.toFixed(1)}" transform="rotate(-90 16 16)"/>`;
}

function sign(color: string, path: string): string {
  return `<circle cx="16" cy="16" r="15" fill="${color}"/>`
    + `<path d="${path}" fill="none" stroke="#fff" stroke-width="3.5" stroke-linecap="round" stroke-linejoin="round"/>`;
}

/** Tab icon for a deployment: a ring that fills (`fraction` 0–1, null while unknown), then its outcome. */
export function faviconOf(state: DeploymentState, fraction: number | null): string {
  const path = SIGNS[state];
  const picture = path === null ? ring(COLORS[state], fraction) : sign(COLORS[state], path);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${picture}</svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
