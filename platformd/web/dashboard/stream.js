// A stream that goes on: over lost connections, server restarts and hidden tabs, without gap or repeat.

import { streamAddress } from "./api.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10000;

/**
 * Follows `path` until `close`. `on` has entry(data, id), and may have state("live" | "waiting" | "paused"),
 * fresh(): opened without knowing the place before; gap(data); end(); finished(): whether nothing more can come.
 */
export class Stream {
  constructor(path, query, on) {
    this.path = path;
    this.query = query;
    this.on = on;
    this.last = null;
    this.source = null;
    this.timer = null;
    this.wait = FIRST_WAIT_MS;
    this.closed = false;
    this.opening = 0;
    this.look = () => (document.hidden ? this.pause() : this.open());
    document.addEventListener("visibilitychange", this.look);
    this.look();
  }

  close() {
    this.closed = true;
    document.removeEventListener("visibilitychange", this.look);
    this.drop();
  }

  pause() {
    this.drop();
    this.on.state?.("paused");
  }

  drop() {
    this.opening += 1;
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  async open() {
    if (this.closed || this.source) return;
    this.drop();
    const mine = this.opening;
    let address;
    try {
      address = await streamAddress(this.path, this.last === null ? this.query : { after: this.last });
    } catch {
      if (mine === this.opening) this.again();
      return;
    }
    if (mine !== this.opening || this.closed) return;
    this.listen(new EventSource(address));
  }

  listen(source) {
    this.source = source;
    source.onopen = () => {
      this.wait = FIRST_WAIT_MS;
      this.on.state?.("live");
      if (this.last === null) this.on.fresh?.();
    };
    source.onmessage = (event) => {
      this.last = event.lastEventId;
      this.on.entry(JSON.parse(event.data), event.lastEventId);
    };
    source.addEventListener("gap", (event) => this.on.gap?.(JSON.parse(event.data)));
    source.addEventListener("end", () => {
      this.close();
      this.on.end?.();
    });
    source.onerror = () => {
      // The browser would come back with the address as it was: a used ticket, an old place.
      this.drop();
      if (this.on.finished?.()) this.close();
      else this.again();
    };
  }

  again() {
    this.on.state?.("waiting");
    if (this.closed || document.hidden) return;
    this.timer = setTimeout(() => this.open(), this.wait);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
  }
}
