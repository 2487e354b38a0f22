/** What a selection compares: objectives that are all minimised, and by how much limits are broken (0: by nothing). */
export interface Judged {
  objectives: readonly number[];
  violation: number;
}

/**
 * Whether one is better than another under limits (Deb et al., "A fast and elitist multiobjective genetic algorithm:
 * NSGA-II", 2002, definition 1 in section VI): what keeps the limits beats what breaks them, of two that break them the
 * one that does less, and of two that keep them the one that is nowhere worse and somewhere better.
 */
export function dominates(a: Judged, b: Judged): boolean {
  if (a.violation !== b.violation && (a.violation > 0 || b.violation > 0)) return a.violation < b.violation;
  let better = false;
  for (let i = 0; i < a.objectives.length; i++) {
    if (a.objectives[i]! > b.objectives[i]!) return false;
    if (a.objectives[i]! < b.objectives[i]!) better = true;
  }
  return better;
}

/** Indices by front: those that nothing dominates, those that only the first front dominates, … (section III-A). */
export function fronts(all: readonly Judged[]): number[][] {
  const dominated: number[][] = all.map(() => []);
  const betters = new Array<number>(all.length).fill(0);
  for (let i = 0; i < all.length; i++)
    for (let j = i + 1; j < all.length; j++) {
      if (dominates(all[i]!, all[j]!)) {
        dominated[i]!.push(j);
        betters[j]!++;
      } else if (dominates(all[j]!, all[i]!)) {
        dominated[j]!.push(i);
        betters[i]!++;
      }
    }
  const found: number[][] = [];
  let front = all.flatMap((_, i) => (betters[i] === 0 ? [i] : []));
  while (front.length > 0) {
    found.push(front);
    front = front.flatMap((i) => dominated[i]!.filter((j) => --betters[j]! === 0)).sort((a, b) => a - b);
  }
  return found;
}

/**
 * How much room each member of a front has to itself: the sum over objectives of the distance between its neighbours, as
 * a share of the range; infinite at the ends (section III-B).
 */
export function crowding(front: readonly Judged[]): number[] {
  const room = front.map(() => 0);
  const count = front[0]?.objectives.length ?? 0;
  for (let objective = 0; objective < count; objective++) {
    const value = (i: number): number => front[i]!.objectives[objective]!;
    const order = front.map((_, i) => i).sort((a, b) => value(a) - value(b) || a - b);
    const range = value(order.at(-1)!) - value(order[0]!);
    room[order[0]!] = Number.POSITIVE_INFINITY;
    room[order.at(-1)!] = Number.POSITIVE_INFINITY;
    if (range === 0) continue;
    for (let place = 1; place < order.length - 1; place++)
      room[order[place]!]! += (value(order[place + 1]!) - value(order[place - 1]!)) / range;
  }
  return room;
}

/** Indices from the best to the worst: by front, and in a front by room, roomiest first. */
export function ranking(all: readonly Judged[]): number[] {
  return fronts(all).flatMap((front) => {
    const room = crowding(front.map((i) => all[i]!));
    return front
      .map((index, place) => ({ index, room: room[place]! }))
      .sort((a, b) => (a.room === b.room ? a.index - b.index : b.room - a.room))
      .map(({ index }) => index);
  });
}
