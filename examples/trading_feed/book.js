// An order book, kept up to date by what has changed.

const MASK = (1n << 64n) - 1n;

export class Book {
  /** How many updates are in it: one that follows has the next number. */
  number = 0;
  bids = new Map(); // price -> quantity
  asks = new Map();

  static of({ number, bids, asks }) {
    return Object.assign(new Book(), { number, bids: new Map(bids), asks: new Map(asks) });
  }

  /** False means that updates are missing before this one, and nothing was done. */
  apply({ number, levels }) {
    if (number !== this.number + 1) return false;
    this.number = number;
    for (const [side, price, quantity] of levels) {
      const of = side === "bid" ? this.bids : this.asks;
      if (quantity === 0) of.delete(price);
      else of.set(price, quantity);
    }
    return true;
  }

  /** The levels of a side, best price first. */
  levels(side) {
    const order = side === "bid" ? (a, b) => b[0] - a[0] : (a, b) => a[0] - b[0];
    return [...(side === "bid" ? this.bids : this.asks)].sort(order);
  }

  /** A number that two books have in common if they are the same, as text: see `Book::check` of the server. */
  check() {
    const mix = (sum, [price, quantity]) => (sum * 31n + ((BigInt(price) * 1_000_003n & MASK) ^ BigInt(quantity))) & MASK;
    const lowestFirst = (levels) => [...levels].sort((a, b) => a[0] - b[0]);
    const bids = lowestFirst(this.bids).reduce(mix, 0n);
    return String(lowestFirst(this.asks).reduce(mix, (bids + 1n) & MASK));
  }
}
