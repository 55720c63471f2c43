/** A lane for one job at a time. Of those that come meanwhile, only the newest is done: the server is never flooded. */
export class Lane {
  #busy = false;
  /** @type {(() => Promise<void>) | null} */
  #next = null;

  /** Does a job now, or when the one under way has ended. @param {() => Promise<void>} job */
  async run(job) {
    if (this.#busy) {
      this.#next = job;
      return;
    }
    this.#busy = true;
    try {
      for (let doing = /** @type {(() => Promise<void>) | null} */ (job); doing; doing = this.#taken()) await doing();
    } finally {
      this.#busy = false;
    }
  }

  #taken() {
    const next = this.#next;
    this.#next = null;
    return next;
  }
}
