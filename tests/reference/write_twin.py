"""Programming a chip device by device, in plain loops over numbers, from the formulas.

Nothing of ``swim`` is used but the random streams, by the keys that they are documented with; the
sorting of the policies is a priority queue here.
"""

import functools
import heapq
import math

import numpy as np
from scipy.stats import norm

from swim.runtime import rng

ROUNDS = 4


class Memory:
    """A device model: what one device is, and how one is rewritten."""

    def __init__(self, sigma, M, K, write_verify="closed_form", tolerance=0.06, read_noise=0.0,
                 clip=False, cycle_limit=1000, pulse_gain=0.2, verified_sigma=0.03,
                 convention="full-scale", variation=None):  # fmt: skip
        self.sigma, self.M, self.K, self.kind = sigma, M, K, write_verify
        self.tolerance, self.noise, self.clip = tolerance, read_noise, clip
        self.limit, self.gain, self.verified_sigma = cycle_limit, pulse_gain, verified_sigma
        self.variation, self.simulated = variation, {}
        self.slices = M // K
        top = 2**K - 1
        self.shares = [top * 2 ** (K * j) / (2**M - 1) for j in range(self.slices)][::-1]
        self.s = self.shares
        if convention == "release":
            self.s = [2.0 ** (-K * (j + 1)) for j in range(self.slices)]

    def std(self, level):
        return self.sigma * (self.variation(level) if self.variation else 1.0)

    def digits(self, magnitude):
        code = round(magnitude * (2**self.M - 1))
        top = 2**self.K - 1
        return [(code // 2 ** (self.K * j)) % 2**self.K / top for j in range(self.slices)][::-1]

    def limited(self, error, level):
        return min(max(error, -level), 1 - level) if self.clip else error

    def trust(self, level):
        variance = self.std(level) ** 2
        return variance / (variance + self.noise**2) if variance else 0.0

    def chance(self, level, centre):
        """That a fresh write is read inside the window: a sum over what it may leave."""
        place = level if self.clip else None
        return _chance(self.std(level), self.noise, self.tolerance, place, centre)

    def mean(self, level):
        """Rewrites of a device that is outside, until it is inside or the limit is met."""
        if self.kind == "pulse":
            return self.mean_pulses(level, 0.0)
        p = self.chance(level, 0.0)
        return sum((1 - p) ** k for k in range(self.limit))

    def cost(self, level, centre):
        """The same around another centre, infinite where it is hopeless."""
        if self.kind == "pulse":
            return self.mean_pulses(level, centre)
        p = self.chance(level, centre)
        return math.inf if p * self.limit < 5 else 1 / p

    def mean_pulses(self, level, centre):
        wanted = level + centre
        if self.clip and max(-wanted, wanted - 1) >= self.tolerance:
            return math.inf
        if not self.clip and abs(wanted) > 2:
            return math.inf
        return float(np.interp(abs(wanted), self.distances, self.trains(self.most())[0]))

    def most(self):
        return max(self.std(k / (2**self.K - 1)) for k in range(2**self.K))

    @property
    def distances(self):
        """From the erased state, at which trains are simulated."""
        return np.linspace(0, 1, 21) if self.clip else np.linspace(0, 2, 41)

    def trains(self, sigma):
        """Mean cycles by distance, and rms over distances up to one."""
        if sigma not in self.simulated:
            self.simulated[sigma] = self.simulate(sigma)
        return self.simulated[sigma]

    def simulate(self, sigma):
        draws = rng.generator(0, "pulse trains")
        levels = np.repeat(self.distances, 2000)
        errors, _, cycles = self.pulses(draws, levels, np.zeros(len(levels)), sigma)
        near = np.array(errors)[levels <= 1]
        return np.mean(np.reshape(cycles, (-1, 2000)), 1), math.sqrt(np.mean(near**2))

    def planned(self, level):
        return (1 - self.chance(level, 0.0)) * self.mean(level)

    @functools.cache  # noqa: B019 - a device model lives as long as its test
    def residual(self, level):
        if self.kind == "closed_form":
            return self.verified_sigma
        if self.kind == "pulse":
            return self.trains(self.most())[1]
        if not self.std(level):
            return 0.0
        x = np.linspace(-self.tolerance, self.tolerance, 20001)
        density = norm.pdf(x, 0, self.std(level))
        return math.sqrt(np.trapezoid(x**2 * density, x) / np.trapezoid(density, x))

    def rewrite(self, draws, levels, centres):
        """Errors, readings and cycles of some devices, each rewritten until it is inside."""
        if self.kind == "pulse":
            stds = np.array([self.std(level) for level in levels])
            return self.pulses(draws, np.array(levels), np.array(centres), stds)
        n, r = len(levels), self.noise
        cycles, failed = [], []
        for u, level, centre in zip(draws.random(n), levels, centres, strict=True):
            p, k = self.chance(level, centre), 1
            # (1 - p)^k is the probability that k writes are not enough.
            if p == 0:
                k = self.limit + 1
            while p and 1 - u <= (1 - p) ** k and k <= self.limit:
                k += 1
            failed.append(k > self.limit)
            cycles.append(min(k, self.limit))
        if self.clip:
            return (*self.by_trying(draws, levels, centres, failed), cycles)
        errors, readings = [], []
        for u, level, centre in zip(draws.random(n), levels, centres, strict=True):
            t = math.hypot(self.std(level), r)
            low, high = (centre - self.tolerance) / t, (centre + self.tolerance) / t
            if low > 0:  # mirrored: the upper tail keeps its digits
                m = t * norm.isf(norm.sf(low) - u * (norm.sf(low) - norm.sf(high)))
            else:
                m = t * norm.ppf(norm.cdf(low) + u * (norm.cdf(high) - norm.cdf(low)))
            readings.append(m)
            errors.append(m * self.std(level) ** 2 / t**2)
        if r:
            for i, z in enumerate(draws.standard_normal(n)):
                std = self.std(levels[i])
                errors[i] += z * std * r / math.hypot(std, r)
        lost = [i for i in range(n) if failed[i]]
        made = self.by_trying(
            draws, [levels[i] for i in lost], [centres[i] for i in lost], [True] * len(lost)
        )
        for i, error, reading in zip(lost, *made, strict=True):
            errors[i], readings[i] = error, reading
        return errors, readings, cycles

    def by_trying(self, draws, levels, centres, failed):
        errors, readings = [0.0] * len(levels), [0.0] * len(levels)
        left = list(range(len(levels)))
        while left:
            written = draws.standard_normal(len(left), dtype="float32")
            read = draws.standard_normal(len(left), dtype="float32")
            again = []
            for i, w, z in zip(left, written, read, strict=True):
                e = self.limited(float(w) * self.std(levels[i]), levels[i])
                m = e + self.noise * float(z)
                if (abs(m - centres[i]) < self.tolerance) != failed[i]:
                    errors[i], readings[i] = e, m
                else:
                    again.append(i)
            left = again
        return errors, readings

    def pulses(self, draws, levels, centres, sigma):
        sigma = np.broadcast_to(sigma, levels.shape)

        def limited(errors, at):
            return (
                np.minimum(np.maximum(errors, -levels[at]), 1 - levels[at]) if self.clip else errors
            )

        def normal(count):
            return draws.standard_normal(count, dtype="float32").astype(float)

        everything = np.arange(len(levels))
        errors = limited(normal(len(levels)) * sigma - levels, everything)
        readings = errors + self.noise * normal(len(levels))
        cycles = np.ones(len(levels), int)
        left = everything
        while True:
            left = left[(abs(readings[left] - centres[left]) >= self.tolerance)
                        & (cycles[left] < self.limit)]  # fmt: skip
            if not len(left):
                return errors, readings, cycles
            kept = (1 - self.gain) * errors[left] + self.gain * centres[left]
            noise = math.sqrt(1 - (1 - self.gain) ** 2) * sigma[left]
            errors[left] = limited(kept + noise * normal(len(left)), left)
            readings[left] = errors[left] + self.noise * normal(len(left))
            cycles[left] += 1


@functools.cache
def _chance(sigma, noise, tolerance, level, centre):
    """``level`` is None without clipping."""
    low, high = centre - tolerance, centre + tolerance

    def read(error):
        """That an error is read inside."""
        if not noise:
            return float(low < error < high)
        return norm.cdf((high - error) / noise) - norm.cdf((low - error) / noise)

    if not sigma:
        return float(read(0.0))
    if level is None:
        t = math.hypot(sigma, noise)
        if low > 0:  # the tail that keeps its digits
            return float(norm.sf(low / t) - norm.sf(high / t))
        return float(norm.cdf(high / t) - norm.cdf(low / t))
    bottom, top = -level, 1 - level
    ends = norm.cdf(bottom / sigma) * read(bottom) + norm.sf(top / sigma) * read(top)
    if not noise:
        left, right = max(low, bottom), min(high, top)
        return float(ends + max(0, norm.cdf(right / sigma) - norm.cdf(left / sigma)))
    e = np.linspace(max(bottom, -9 * sigma), min(top, 9 * sigma), 4001)
    return float(ends + np.trapezoid(norm.pdf(e, 0, sigma) * read(e), e))


class Layer:
    """One layer of one chip."""

    def __init__(self, memory, seed, index, name, weight, curvature):
        self.memory, self.key, self.name = memory, (seed, index, name), name
        self.shape, self.weights = weight.shape, [float(w) for w in weight.ravel()]
        self.full = max(abs(w) for w in self.weights)
        self.sizes = [abs(w) / (self.full or 1) for w in self.weights]
        self.signs = [-1 if w < 0 else 1 for w in self.weights]
        self.H = [float(h) * self.full**2 for h in curvature.ravel()]
        self.n, self.m = len(self.weights), memory.slices
        own = rng.normals(self.draws("slices"), self.m, self.n)
        z = rng.normals(self.draws("chip"), self.n)
        size = math.sqrt(sum(s**2 for s in memory.s))
        u = [s / size for s in memory.s]
        # [slice][weight], errors of the magnitude
        self.z = [[0.0] * self.n for _ in range(self.m)]
        for i in range(self.n):
            rest = z[i] - sum(u[j] * own[j][i] for j in range(self.m))
            for j in range(self.m):
                self.z[j][i] = self.signs[i] * float(own[j][i] + u[j] * rest)
        self.levels = [[memory.digits(size)[j] for size in self.sizes] for j in range(self.m)]
        noise = np.zeros((self.m, self.n))
        if memory.noise:
            noise = rng.normals(self.draws("reads"), self.m, self.n)
        self.noise = [[memory.noise * float(x) for x in row] for row in noise]
        self.errors = [[self.once(j, i) for i in range(self.n)] for j in range(self.m)]
        self.readings = [[self.errors[j][i] + self.noise[j][i] for i in range(self.n)]
                         for j in range(self.m)]  # fmt: skip
        self.verify()

    def draws(self, purpose):
        seed, index, name = self.key
        return rng.generator(seed, purpose, index, name)

    def places(self):
        return [(j, i) for j in range(self.m) for i in range(self.n)]

    def once(self, j, i):
        level = self.levels[j][i]
        return self.memory.limited(self.z[j][i] * self.memory.std(level), level)

    def planned(self, j, i):
        return self.memory.planned(self.levels[j][i])

    def outside(self, j, i):
        return abs(self.readings[j][i]) >= self.memory.tolerance

    def verify(self):
        """(error, cycles) of each device after write-verify."""
        if self.memory.kind == "closed_form":
            self.verified = {
                (j, i): (self.z[j][i] * self.memory.verified_sigma, self.planned(j, i))
                for j, i in self.places()
            }
            return
        self.verified = {(j, i): (self.errors[j][i], 0) for j, i in self.places()}
        bad = [(j, i) for j, i in self.places() if self.outside(j, i)]
        levels = [self.levels[j][i] for j, i in bad]
        made = self.memory.rewrite(self.draws("rewrites"), levels, [0.0] * len(bad))
        for place, error, cycles in zip(bad, made[0], made[2], strict=True):
            self.verified[place] = error, cycles

    def total(self, errors):
        return [sum(self.memory.s[j] * errors[j][i] for j in range(self.m)) for i in range(self.n)]

    def saved(self, j, i):
        """Variance that verifying a device takes away."""
        s, std = self.memory.s[j], self.memory.std(self.levels[j][i])
        return s**2 * (std**2 - self.memory.residual(self.levels[j][i]) ** 2)

    def programmed(self, totals):
        pairs = zip(self.weights, self.signs, totals, strict=True)
        made = [w + sign * error * self.full for w, sign, error in pairs]
        return np.array(made).reshape(self.shape)


class Steps:
    """What a policy may do to a layer.

    ``first``: (key, tie, item) of what is possible at first; ``take(item)`` does it and gives
    the cycles and what it makes possible; ``reads`` counts.
    """

    def __init__(self, layer):
        self.layer, self.reads = layer, 0
        self.errors = [list(row) for row in layer.errors]

    def totals(self):
        return self.layer.total(self.errors)


class Whole(Steps):
    """Weights, all their devices at a time."""

    def first(self):
        layer = self.layer
        for i in range(layer.n):
            saved = sum(layer.saved(j, i) for j in range(layer.m))
            cost = sum(layer.planned(j, i) for j in range(layer.m))
            yield layer.H[i] * saved / cost, layer.sizes[i], i

    def take(self, i):
        spent = 0
        for j in range(self.layer.m):
            self.errors[j][i], cycles = self.layer.verified[j, i]
            spent += cycles
            self.reads += 1 + cycles
        return spent, []


class Single(Steps):
    """Devices one by one, by a policy's key."""

    def __init__(self, layer, key):
        super().__init__(layer)
        self.key = key

    def first(self):
        for j, i in self.layer.places():
            found = self.key(self.layer, j, i)
            if found is not None:
                yield *found, (j, i)

    def take(self, place):
        j, i = place
        self.errors[j][i], cycles = self.layer.verified[place]
        self.reads += 1 + cycles
        return cycles, []


def swim_device(layer, j, i):
    return layer.H[i] * layer.saved(j, i) / layer.planned(j, i), layer.sizes[i]


def magnitude_device(layer, j, i):
    return layer.weights[i] ** 2 * layer.saved(j, i) / layer.planned(j, i), layer.sizes[i]


def top_slice(layer, j, i):
    return layer.m - j, layer.H[i]


def read_first(layer, j, i):
    if not layer.outside(j, i):
        return None
    memory, level = layer.memory, layer.levels[j][i]
    mean = memory.trust(level) * layer.readings[j][i]
    square = mean**2 + memory.trust(level) * memory.noise**2
    saved = memory.s[j] ** 2 * (square - memory.residual(level) ** 2)
    return layer.H[i] * saved / memory.mean(level), layer.sizes[i]


class ReadFirst(Single):
    def __init__(self, layer):
        super().__init__(layer, read_first)
        self.reads = layer.n * layer.m

    def take(self, place):
        cycles, then = super().take(place)
        self.reads -= 1  # that read has been
        return cycles, then


class Compensate(Steps):
    """Steps of weights: each rewrites a slice until the weight is right."""

    def __init__(self, layer):
        """All rounds of all weights; which are taken is decided later."""
        super().__init__(layer)
        memory = layer.memory
        self.reads = layer.n * layer.m
        errors = [list(row) for row in self.errors]
        self.trust = [[memory.trust(level) for level in row] for row in layer.levels]
        believed = [[self.trust[j][i] * layer.readings[j][i] for i in range(layer.n)]
                    for j in range(layer.m)]  # fmt: skip
        self.steps = {i: [] for i in range(layer.n)}  # (key, cycles, total afterwards)
        going = list(range(layer.n))
        for turn in range(ROUNDS):
            chosen = []
            for i in going:
                best = self.best(i, believed)
                if best[0] > 0:
                    chosen.append((i, *best))
            made = memory.rewrite(
                layer.draws(f"compensate {turn}"),
                [layer.levels[j][i] for i, _, j, _ in chosen],
                [aim for *_, aim in chosen],
            )
            for (i, worth, j, _), error, reading, cycles in zip(chosen, *made, strict=True):
                errors[j][i], believed[j][i] = error, reading * self.trust[j][i]
                total = sum(memory.s[k] * errors[k][i] for k in range(layer.m))
                self.steps[i].append((worth, cycles, total))
            going = [i for i, *_ in chosen]
        self.end = layer.total(self.errors)

    def best(self, i, believed):
        layer, memory = self.layer, self.layer.memory
        total = sum(memory.s[j] * believed[j][i] for j in range(layer.m))
        found = (0.0, 0, 0.0)
        for j in range(layer.m):
            s, level = memory.s[j], layer.levels[j][i]
            others = total - s * believed[j][i]
            centre = memory.limited(-others / s, level)
            saved = total**2 - (others + s * centre) ** 2 - memory.residual(level) ** 2 * s**2
            if saved <= 0:
                continue
            if not self.trust[j][i]:  # it holds the same whenever it is written
                continue
            aim = centre / self.trust[j][i]
            worth = layer.H[i] * saved / memory.cost(level, aim)
            if worth > found[0]:
                found = worth, j, aim
        return found

    def offered(self, i, done, limit=math.inf):
        if done < len(self.steps[i]):
            yield min(limit, self.steps[i][done][0]), 0.0, (i, done)

    def first(self):
        for i in range(self.layer.n):
            yield from self.offered(i, 0)

    def take(self, item):
        i, done = item
        _, cycles, self.end[i] = self.steps[i][done]
        self.reads += cycles
        limit = min(key for key, *_ in self.steps[i][: done + 1])
        return cycles, list(self.offered(i, done + 1, limit))

    def totals(self):
        return self.end


class Marginal:
    """A layer that is written cycle by cycle, whichever weight a cycle is worth most for."""

    def __init__(self, layer):
        self.layer, self.memory = layer, layer.memory
        self.levels = [list(row) for row in layer.levels]
        self.sides = [[1] * layer.n for _ in range(layer.m)]
        self.offset = [0.0] * layer.n
        self.errors = [list(row) for row in layer.errors]
        self.readings = [list(row) for row in layer.readings]
        self.begin()
        self.spent = [[0] * layer.n for _ in range(layer.m)]
        self.draws = layer.draws("marginal")

    def begin(self):
        """What was done before any cycle beyond the first of each device."""

    def believed(self, j, i):
        """A device's error, by its last reading, on its own side of the pair."""
        return self.sides[j][i] * self.memory.trust(self.levels[j][i]) * self.readings[j][i]

    def total(self, i, without=None):
        """The weight's error by the readings, perhaps without a device."""
        return self.offset[i] + sum(
            self.memory.s[j] * self.sides[j][i] * self.believed(j, i)
            for j in range(self.layer.m)
            if j != without
        )

    def centre(self, j, i):
        level = self.levels[j][i]
        wanted = -self.sides[j][i] * self.total(i, j) / self.memory.s[j]
        return min(max(wanted, -level), 1 - level)

    def outcome(self, error, j, i):
        """Mean and deviation of the device's error after one more cycle."""
        memory, std = self.memory, self.memory.std(self.levels[j][i])
        if memory.kind != "pulse":
            return 0.0, std
        kept = 1 - memory.gain
        return kept * error + memory.gain * self.centre(j, i), std * math.sqrt(1 - kept**2)

    def worth(self, i):
        """Of the weight's best device, and which that is."""
        memory, found = self.memory, (0.0, 0)
        if memory.kind == "closed_form":
            return found
        total = self.total(i)
        for j in range(self.layer.m):
            level = self.levels[j][i]
            if abs(total) <= memory.tolerance * memory.s[j] or self.spent[j][i] >= memory.limit:
                continue
            if not memory.trust(level):  # it holds the same whenever it is written
                continue
            mean, std = self.outcome(self.believed(j, i), j, i)
            std *= math.sqrt(memory.trust(level))
            ends = (-level, 1 - level) if memory.clip else (-math.inf, math.inf)
            rest = self.sides[j][i] * self.total(i, j)
            saved, chance = saving(total, rest, memory.s[j], mean, std, *ends)
            if chance * memory.limit < 1:
                continue
            found = max(found, (max(self.layer.H[i], 0) * saved, j), key=lambda pair: pair[0])
        return found

    def cycle(self, chosen, best):
        """One cycle of these weights' best devices, and a read."""
        written = self.draws.standard_normal(len(chosen), dtype="float32")
        read = np.zeros(len(chosen))
        if self.memory.noise:
            read = self.draws.standard_normal(len(chosen), dtype="float32")
        for i, j, z, noise in zip(chosen, best, written, read, strict=True):
            side = self.sides[j][i]
            mean, std = self.outcome(side * self.errors[j][i], j, i)
            error = self.memory.limited(mean + std * float(z), self.levels[j][i])
            self.errors[j][i] = side * error
            self.readings[j][i] = side * (error + self.memory.noise * float(noise))
            self.spent[j][i] += 1

    def totals(self):
        pairs = zip(self.offset, self.layer.total(self.errors), strict=True)
        return [offset + error for offset, error in pairs]


NODES, SHARES = np.polynomial.legendre.leggauss(80)


def saving(total, rest, s, mean, std, bottom, top):
    """``E[max(0, total^2 - (rest + s e)^2)]`` for a normal e that stays between the ends.

    And the probability that it is above zero.
    """

    def saved(e):
        return np.maximum(0.0, total**2 - (rest + s * e) ** 2)

    if std < 1e-20:
        always = float(saved(min(max(mean, bottom), top)))
        return always, float(always > 0)
    # Where it is above zero: within |total| of what makes up for the rest.
    low, high = (-abs(total) - rest) / s, (abs(total) - rest) / s
    low, high = max(low, bottom, mean - 9 * std), min(high, top, mean + 9 * std)
    inside, chance = 0.0, 0.0
    if high > low:
        e = (low + high) / 2 + (high - low) / 2 * NODES
        masses = (high - low) / 2 * SHARES * norm.pdf(e, mean, std)
        inside, chance = float(masses @ saved(e)), float(masses.sum())
    if not math.isinf(top):
        for end, mass in ((bottom, norm.cdf(bottom, mean, std)), (top, norm.sf(top, mean, std))):
            inside += float(mass * saved(end))
            chance += float(mass * (saved(end) > 0))
    return inside, chance


class Reslice(Marginal):
    """Slices written in turn, each for what those before have left."""

    signed = False

    def begin(self):
        layer, memory = self.layer, self.memory
        top = 2**memory.K - 1
        for i in range(layer.n):
            left, nominal = layer.sizes[i], 0.0
            for j in range(layer.m):
                # What the slices below can still add, at most, and at least.
                below = sum(memory.shares[j + 1 :])
                middle = 0.0 if self.signed else below / 2
                digits = range(-top if self.signed else 0, top + 1)
                digit = min(digits, key=lambda d: abs(left - middle - memory.shares[j] * d / top))
                level, side = abs(digit) / top, -1 if digit < 0 else 1
                own = memory.limited(side * layer.z[j][i] * memory.std(level), level)
                self.errors[j][i] = side * own
                self.readings[j][i] = side * own + layer.noise[j][i]
                self.levels[j][i], self.sides[j][i] = level, side
                nominal += memory.shares[j] * digit / top
                left -= memory.shares[j] * digit / top
                left -= memory.s[j] * memory.trust(level) * self.readings[j][i]
            self.offset[i] = nominal - layer.sizes[i]


class ReslicePair(Reslice):
    signed = True


POLICIES = {
    "uswim": Whole,
    "swim_device": lambda layer: Single(layer, swim_device),
    "magnitude_device": lambda layer: Single(layer, magnitude_device),
    "top_slice": lambda layer: Single(layer, top_slice),
    "read_first": ReadFirst,
    "compensate": Compensate,
}
# Those that go cycle by cycle, with a price that falls.
SEARCHES = {"marginal": Marginal, "reslice": Reslice, "reslice_pair": ReslicePair}
FALL = 0.8


def layers_of(memory, seed, index, weights, curvature):
    return [Layer(memory, seed, index, name, w, curvature[name]) for name, w in weights.items()]


def program(policy, layers, budget):
    """Weights, NWC and reads a device: the best offer first, until the budget is met."""
    if policy in SEARCHES:
        return search(policy, layers, budget)
    steps = [POLICIES[policy](layer) for layer in layers]
    queue, spent = [], 0.0
    for number, own in enumerate(steps):
        for key, tie, item in own.first():
            heapq.heappush(queue, (-key, -tie, number, item))
    planned = sum(layer.planned(j, i) for layer in layers for j, i in layer.places())
    while queue and spent < budget * planned:
        *_, number, item = heapq.heappop(queue)
        cycles, then = steps[number].take(item)
        spent += cycles
        for key, tie, following in then:
            heapq.heappush(queue, (-key, -tie, number, following))
    return _result(layers, spent, sum(own.reads for own in steps),
                   [own.totals() for own in steps])  # fmt: skip


def search(policy, layers, budget):
    """The same cycle by cycle: all weights that are worth more than the price get one."""
    own = [SEARCHES[policy](layer) for layer in layers]
    left = budget * sum(layer.planned(j, i) for layer in layers for j, i in layer.places())
    found = {(k, i): layer.worth(i) for k, layer in enumerate(own) for i in range(layer.layer.n)}
    price, cycles = math.inf, 0
    while left > 0 and (most := max(worth for worth, _ in found.values())) > 0:
        if most <= price:
            price = FALL * most
        chosen = [place for place, (worth, _) in found.items() if worth > price]
        if len(chosen) > left:
            chosen = sorted(sorted(chosen, key=lambda p: -found[p][0])[: math.ceil(left)])
        for k, layer in enumerate(own):
            here = [i for number, i in chosen if number == k]
            layer.cycle(here, [found[k, i][1] for i in here])
            found.update({(k, i): layer.worth(i) for i in here})
        cycles += len(chosen)
        left -= len(chosen)
    reads = cycles + sum(layer.n * layer.m for layer in layers)
    return _result(layers, cycles, reads, [layer.totals() for layer in own])


def by_mask(layers, masks):
    """The same where the weights to verify are chosen beforehand."""
    spent, reads, totals = 0.0, 0.0, []
    for layer in layers:
        chosen = masks[layer.name].ravel()
        errors = [list(row) for row in layer.errors]
        for j, i in layer.places():
            if chosen[i]:
                errors[j][i], cycles = layer.verified[j, i]
                spent += cycles
                reads += 1 + cycles
        totals.append(layer.total(errors))
    return _result(layers, spent, reads, totals)


def _result(layers, spent, reads, totals):
    verifying = sum(cycles for layer in layers for _, cycles in layer.verified.values())
    weights = {layer.name: layer.programmed(total)
               for layer, total in zip(layers, totals, strict=True)}  # fmt: skip
    nwc = spent / verifying if verifying else 0.0
    return weights, nwc, reads / sum(layer.n * layer.m for layer in layers)
