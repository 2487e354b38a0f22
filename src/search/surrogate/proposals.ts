import { type Judged, ranking } from '../algorithms/dominance.js';
import { Draws } from '../algorithms/random.js';
import { randomGenomes } from '../feasible.js';
import { type Genome, genomeKey } from '../space.js';
import { breed, type Parents } from '../strategies/breeding.js';
import type { Problem, Scored } from '../strategies/strategy.js';
import { type Choice, chooseFit, fit } from './choice.js';
import { Encoding } from './features.js';
import type { Predictor } from './kernel-ridge.js';

/** Scored networks that fits are made of at the most; the latest ones, which lie where the search is. */
const FITTED = 400;
/** Fits that share the places of a round, and the share of the scores that each is made of. */
const MEMBERS = 4;
const SHARE = 0.7;
/** Candidates for each place, the fewest of them, and rounds in which the best are bred further. */
const CANDIDATES = 8;
const FEWEST = 30;
const ROUNDS = 3;
/** Streams of random numbers that a fit uses. */
const STREAMS = 16;
/** Where places are filled one at a time: scores after which fits are made anew, and what they are made of at the most. */
const REFIT = 8;
const STANDING = 240;
/** Places in the table of distances: those of rows that have just left are asked for by fits that are not made anew. */
const PLACES = FITTED + REFIT;

/** A scored network that fits are made of, and its place in the table of distances. */
interface Fitted {
  key: string;
  row: Float64Array;
  score: number;
  place: number;
}

/** What fits are made of between two times at which they are made anew. */
interface Standing {
  number: number;
  fitted: Fitted[];
  choice: Choice;
  /** Those that were asked for. */
  fits: Map<number, Predictor>;
}

type Candidate = Judged & { genome: Genome };

/**
 * Proposes networks by fits of the scores so far: candidates are bred for several rounds on predicted scores and known
 * costs, and the best of them are to be tried (Lu et al., "NSGANetV2", ECCV 2020, section 3).
 *
 * Each place is filled by one of several fits, of other shares of the scores: where they disagree little is known, and
 * something else gets tried (bootstrap Thompson sampling: Eckles, Kaptein, 2014, section 2).
 */
export class Proposals {
  private readonly encoding: Encoding;
  private fitted: Fitted[] = [];
  private told = 0;
  /** Distances of all that are fitted, by their places: several fits ask for each of them, round after round. */
  private readonly apart = new Float64Array(PLACES * PLACES);
  /** How scores are fitted, chosen anew whenever there are half as many networks again. */
  private chosen: Choice | null = null;
  private standing: Standing | null = null;

  constructor(
    private readonly problem: Problem,
    private readonly seed: number,
  ) {
    this.encoding = new Encoding(problem.space);
  }

  tell(scored: readonly Scored[]): void {
    const usable = scored.filter(
      ({ violation, objectives }) => violation === 0 && Number.isFinite(objectives[0]),
    );
    for (const one of usable) this.add(one);
    // Trained on, it turned out not to be usable.
    const failed = new Set(scored.filter((one) => one.violation > 0).map(({ genome }) => genomeKey(genome)));
    if (failed.size > 0) this.fitted = this.fitted.filter(({ key }) => !failed.has(key));
    const { length } = this.fitted;
    if (length >= 3 && !(this.chosen && length < 1.5 * this.chosen.rows))
      this.chosen = chooseFit(...rowsOf(this.fitted), this.encoding, this.seed);
    this.stand();
  }

  /** What fits are made of is copied: which of them are asked for, and when, may not change what they say. */
  private stand(): void {
    const number = Math.floor(this.told / REFIT);
    if (!this.chosen || this.standing?.number === number) return;
    const fitted = this.fitted.slice(-STANDING).map((one) => ({ ...one }));
    this.standing = { number, fitted, choice: this.chosen, fits: new Map() };
  }

  /** @param population the best networks so far, from the best to the worst */
  propose(round: number, population: readonly Scored[], seen: ReadonlySet<string>, count: number): Genome[] {
    if (!this.chosen) return [];
    const taken = new Set<string>();
    const found: Genome[] = [];
    for (let place = 0; place < Math.min(MEMBERS, count); place++) {
      // Where there are fewer places than fits, rounds take turns.
      const member = (round + place) % MEMBERS;
      const places = Math.floor(count / MEMBERS) + (place < count % MEMBERS ? 1 : 0);
      const predictor = count < MEMBERS ? this.standingFit(member) : this.freshFit(round, member);
      for (const genome of this.byFit(predictor, { round, member }, population, [seen, taken], places)) {
        found.push(genome);
        taken.add(genomeKey(genome));
      }
    }
    return found;
  }

  /** What one fit finds most promising. */
  private byFit(
    predictor: Predictor,
    { round, member }: { round: number; member: number },
    population: readonly Scored[],
    seen: readonly ReadonlySet<string>[],
    count: number,
  ): Genome[] {
    const drawsOf =
      (stream: number) =>
      (index: number): Draws =>
        new Draws(this.seed, round, index, STREAMS * (member + 1) + stream);
    const known = new Set<string>();
    const wanted = Math.max(CANDIDATES * count, FEWEST);
    let pool: Candidate[] = [];
    let parents: Parents = population;
    for (let inner = 1; inner <= ROUNDS; inner++) {
      const fresh = breed(this.problem, parents, drawsOf(inner), [...seen, known], wanted);
      for (const genome of fresh) known.add(genomeKey(genome));
      // A fit may know of good places far from all parents.
      if (inner === 1) {
        const anywhere = randomGenomes(this.problem, drawsOf(ROUNDS + 1), [...seen, known], wanted);
        for (const genome of anywhere) known.add(genomeKey(genome));
        fresh.push(...anywhere);
      }
      const candidates = new Set([...pool, ...fresh.map((genome) => this.judge(genome, predictor))]);
      const all: (Scored | Candidate)[] = [...population, ...candidates];
      const order = ranking(all).map((index) => all[index]!);
      parents = order.slice(0, population.length);
      pool = order.filter((one) => candidates.has(one)).slice(0, CANDIDATES * count);
    }
    return pool.slice(0, count).map(({ genome }) => genome);
  }

  private judge(genome: Genome, predictor: Predictor): Candidate {
    const { costs, violation, features } = this.problem.screen(genome);
    const score = predictor.predict(this.encoding.encode(genome, features));
    return { genome, objectives: [-score, ...costs], violation };
  }

  private freshFit(round: number, member: number): Predictor {
    const draws = new Draws(this.seed, round, 0, STREAMS * (member + 1));
    return this.fit(draws, this.fitted, this.chosen!);
  }

  private standingFit(member: number): Predictor {
    const { number, fitted, choice, fits } = this.standing!;
    let found = fits.get(member);
    if (!found) {
      found = this.fit(new Draws(this.seed, number, 0, STREAMS * (member + 2) - 1), fitted, choice);
      fits.set(member, found);
    }
    return found;
  }

  private fit(draws: Draws, fitted: readonly Fitted[], choice: Choice): Predictor {
    const some = fitted.filter(() => draws.next() < SHARE);
    const list = some.length < 3 ? fitted : some;
    const between = (i: number, j: number): number => this.apart[list[i]!.place * PLACES + list[j]!.place]!;
    return fit(...rowsOf(list), this.encoding, choice, draws, between);
  }

  private add({ genome, objectives }: Scored): void {
    const key = genomeKey(genome);
    const known = this.fitted.find((one) => one.key === key);
    if (known) {
      known.score = -objectives[0]!;
      return;
    }
    const place = this.told++ % PLACES;
    const row = this.encoding.encode(genome, this.problem.screen(genome).features);
    if (this.fitted.length === FITTED) this.fitted.shift();
    for (const other of this.fitted) {
      const distance = this.encoding.distance(row, other.row);
      this.apart[place * PLACES + other.place] = distance;
      this.apart[other.place * PLACES + place] = distance;
    }
    this.apart[place * PLACES + place] = 0;
    this.fitted.push({ key, row, score: -objectives[0]!, place });
  }
}

const rowsOf = (fitted: readonly Fitted[]): [Float64Array[], number[]] => [
  fitted.map(({ row }) => row),
  fitted.map(({ score }) => score),
];
