import uPlot from "uplot";
import type { DeploymentState, FinishedDeployment } from "@/api/types";
import { formatDuration } from "@/lib/time";
import type { Palette } from "./palette";

export const HEIGHT = 190;

export interface PlotOptions {
  deployments: readonly FinishedDeployment[];
  median: number | null;
  palette: () => Palette;
  locale: string;
  font: string;
  width: number;
  /** The deployment under the pointer and the position of its point (in plot pixels); null without one. */
  hover: (index: number | null, left: number, top: number) => void;
}

/** Width of one date label below the chart, in pixels. */
const LABEL_WIDTH = 90;
const RADIUS = 4;
const SECONDS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400];

function evenly(count: number, max: number): number[] {
  const step = Math.max(1, Math.ceil(count / Math.max(1, max)));
  return Array.from({ length: Math.ceil(count / step) }, (_, index) => index * step);
}

function drawMedian(u: uPlot, median: number, color: string): void {
  const y = u.valToPos(median, "y", true);
  u.ctx.save();
  u.ctx.strokeStyle = color;
  u.ctx.globalAlpha = 0.7;
  u.ctx.lineWidth = uPlot.pxRatio;
  u.ctx.setLineDash([4 * uPlot.pxRatio, 4 * uPlot.pxRatio]);
  u.ctx.beginPath();
  u.ctx.moveTo(u.bbox.left, y);
  u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
  u.ctx.stroke();
  u.ctx.restore();
}

/** Success is a disc, failure a diamond, cancelled a ring, so they differ without color as well. */
const POINTS: Readonly<Record<DeploymentState, { diamond: boolean; fill: keyof Palette; edge: keyof Palette }>> = {
  success: { diamond: false, fill: "ok", edge: "surface" },
  failure: { diamond: true, fill: "bad", edge: "surface" },
  cancelled: { diamond: false, fill: "surface", edge: "muted" },
  // Never drawn, because the chart shows finished deployments.
  queued: { diamond: false, fill: "surface", edge: "muted" },
  running: { diamond: false, fill: "surface", edge: "muted" },
};

function drawPoint(u: uPlot, index: number, deployment: FinishedDeployment, palette: Palette): void {
  const { ctx } = u;
  const x = u.valToPos(index, "x", true);
  const y = u.valToPos(deployment.seconds ?? 0, "y", true);
  const r = RADIUS * uPlot.pxRatio;
  ctx.beginPath();
  const { diamond, fill, edge } = POINTS[deployment.state];
  if (diamond) {
    const d = r * 1.35;
    ctx.moveTo(x, y - d);
    ctx.lineTo(x + d, y);
    ctx.lineTo(x, y + d);
    ctx.lineTo(x - d, y);
    ctx.closePath();
  } else {
    ctx.arc(x, y, r, 0, 2 * Math.PI);
  }
  ctx.fillStyle = palette[fill];
  ctx.strokeStyle = palette[edge];
  ctx.lineWidth = 1.5 * uPlot.pxRatio;
  ctx.stroke();
  ctx.fill();
  if (deployment.state === "cancelled") ctx.stroke();
}

/** Labels with dates, or with times if all points are on one day. */
function timeFormat(deployments: readonly FinishedDeployment[], locale: string): Intl.DateTimeFormat {
  const days = new Set(deployments.map(({ finished }) => new Date(finished).toDateString()));
  return new Intl.DateTimeFormat(locale, days.size > 1 ? { day: "numeric", month: "short" } : { timeStyle: "short" });
}

function shortDuration(seconds: number): string {
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  return formatDuration(seconds * 1000).replace(/ 0 (s|min)$/, "");
}

function axes({ deployments, locale, font, palette }: PlotOptions): uPlot.Axis[] {
  const format = timeFormat(deployments, locale);
  const common: Partial<uPlot.Axis> = { stroke: () => palette().muted, font: `12px ${font}`, ticks: { show: false } };
  return [
    {
      ...common,
      grid: { show: false },
      size: 28,
      splits: u => evenly(deployments.length, Math.floor(u.width / LABEL_WIDTH)),
      values: (_u, splits) => splits.map((index) => {
        const deployment = deployments[index];
        return deployment ? format.format(new Date(deployment.finished)) : "";
      }),
    },
    {
      ...common,
      grid: { stroke: () => palette().line, width: 1 },
      size: 66,
      incrs: SECONDS,
      values: (_u, splits) => splits.map(seconds => seconds === 0 ? "0" : shortDuration(seconds)),
    },
  ];
}

/** Durations of deployments side by side, with their outcomes as points. */
export function createPlot(target: HTMLElement, options: PlotOptions): uPlot {
  const { deployments, median, palette, width, hover } = options;
  const longest = Math.max(1, ...deployments.map(({ seconds }) => seconds ?? 0));
  return new uPlot({
    width,
    height: HEIGHT,
    padding: [10, 12, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false, setScale: false }, points: { show: false } },
    scales: {
      x: { time: false, range: () => [-0.5, Math.max(0.5, deployments.length - 0.5)] },
      y: { range: () => [0, longest * 1.12] },
    },
    axes: axes(options),
    series: [{}, { stroke: () => palette().line, width: 1.5, spanGaps: true, points: { show: false } }],
    hooks: {
      draw: [(u) => {
        if (median !== null) drawMedian(u, median, palette().muted);
        deployments.forEach((deployment, index) => drawPoint(u, index, deployment, palette()));
      }],
      setCursor: [(u) => {
        const { idx } = u.cursor;
        const deployment = idx === null || idx === undefined ? undefined : deployments[idx];
        if (idx === null || idx === undefined || !deployment || (u.cursor.left ?? -1) < 0) return hover(null, 0, 0);
        hover(idx, u.valToPos(idx, "x") + u.over.offsetLeft, u.valToPos(deployment.seconds ?? 0, "y") + u.over.offsetTop);
      }],
    },
  }, [deployments.map((_, index) => index), deployments.map(({ seconds }) => seconds)], target);
}
