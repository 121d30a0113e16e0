"use strict";
const SAME = 1e-12; // heights that differ by rounding are equal, as in crossings.py

// --- where a curve crosses: the rule of swim/reports/crossings.py --------------------------------

// The position on a rising curve from which on it is at or above zero; Infinity: it ends below.
function crossing(above) {
  const first = above.findIndex(height => height >= -SAME);
  if (first < 0) return Infinity;
  if (first === 0 || above[first] <= SAME) return first;
  const low = above[first - 1], high = above[first];
  return first - 1 + Math.min(Math.max(-low / (high - low), 0), 1);
}

// A value at a position; null where either of its points has none.
function interpolate(place, values) {
  const start = Math.floor(place), next = Math.min(start + 1, values.length - 1);
  if (values[start] === null || values[next] === null) return null;
  return values[start] + (place - start) * (values[next] - values[start]);
}

// The least and the largest position that a crossing may have: the ends of the gap that it is in.
function aroundGaps(place, gaps) {
  const start = Math.floor(place);
  return place !== start && gaps[start] ? [start, start + 1] : [place, place];
}

// What a curve costs within so many percentage points: by column a value, or the ends of a gap.
function spent(curve, within) {
  const place = crossing(curve.above.map(height => height + within / 100));
  if (place === Infinity) return null;
  const [low, high] = aroundGaps(place, curve.gaps);
  const costs = {};
  for (const [column, values] of Object.entries(curve.costs)) {
    const ends = [interpolate(low, values), interpolate(high, values)];
    costs[column] = low === high ? {value: ends[0]} : {value: null, between: ends};
  }
  return costs;
}

// A curve's 95 % interval; between two steps the wider end of each, since both ends fall.
function interval(ends, steps, within) {
  const next = steps.findIndex(step => step >= within);
  if (next < 0) return [ends.low.at(-1), ends.high.at(-1)];
  return [ends.low[next], ends.high[steps[next] === within ? next : next - 1]];
}

// --- what several networks cost on average: the rule of swim/reports/cycles_to_accuracy.py ---------

const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length;

// The average of costs, each a value or the ends of a gap, with Student's t interval over them;
// student: t at 97.5 % for two networks, three, and so on.
function averaged(costs, student) {
  const ends = [0, 1].map(end => costs.map(cost => cost.between ? cost.between[end] : cost.value));
  if (ends.flat().includes(null)) return {value: null};
  const [low, high] = ends.map(mean), count = costs.length;
  if (costs.some(cost => cost.between)) return {value: null, between: [low, high]};
  const deviation = Math.sqrt(ends[0].reduce((sum, value) => sum + (value - low) ** 2, 0) / (count - 1));
  const half = student[count - 2] * deviation / Math.sqrt(count);
  return {value: low, interval: [Math.max(low - half, 0), low + half]};
}
