/** Reads a task's log into a model: live at its end, and back by pages.
 *
 * What is loaded is bounded. While a reader looks at older lines, the live end is read only until the model is full,
 * and goes on when the reader comes near it. tRPC resumes a cut subscription after the last event that came, so
 * nothing is lost or doubled by a cut.
 */

import type { Unsubscribable } from '@trpc/server/observable';
import { type Api, type Failure, failureOf } from '../api.ts';
import { Backlog, FRAME_MS, isGap } from './backlog.ts';
import { LogModel } from './model.ts';
import type { LogEvent } from './notes.ts';

/** Lines at which reading pauses while the reader is not at the end. */
const LINE_LIMIT = 10_000;
/** Lines that are kept: the event that reaches the limit must not push out the line that the reader came for. */
const KEPT_LINES = 2 * LINE_LIMIT;
/** Events that are asked for at first. An event has up to 64 KiB, and all of it is read before it is shown. */
const FIRST_EVENTS = 6;
/** Lines that fill any screen; below it more is read without being asked for. */
const FIRST_LINES = 300;
/** A page that has less is followed by a larger one. It is far smaller than what is loaded, so that lines in sight stay. */
const PAGE_BYTES = 32 * 1024;
const PAGE_LINES = 500;
const LARGEST_PAGE = 8192;
/** Events before the one that a link names. Each may have thousands of lines; older ones come by scrolling. */
const AROUND_A_LINK = 2;

export class LogSource {
  readonly model = new LogModel(KEPT_LINES);
  failure: Failure | null = null;
  /** Whether the log's end has been reached and nothing more will come. */
  ended = false;
  loadingOlder = false;
  /** Whether the view is at the end, so that lines may go at the front. */
  following = true;
  private live: Unsubscribable | null = null;
  private page: Unsubscribable | null = null;
  /** Events of the next older page. */
  private window = 1;
  private closed = false;
  /** The last event of the log, as far as the page knows. */
  private length = 0;
  /** The event up to which the log has come to its end. */
  private through = 0;
  private frame = 0;
  /** Events that wait for a frame, and what this frame has already spent on lines. */
  private readonly backlog = new Backlog();
  private spent = 0;

  constructor(
    private readonly api: Api,
    private readonly taskId: string,
    private readonly job: number | null,
    private readonly changed: () => void,
  ) {}

  /** Load the end of the log and follow it. */
  openAtEnd(): void {
    this.stop();
    this.model.reset(0);
    this.following = true;
    this.subscribe({ tail: FIRST_EVENTS });
  }

  /** Load the log around an event. */
  openAt(seq: number): void {
    this.stop();
    const after = Math.max(0, seq - AROUND_A_LINK);
    this.model.reset(after);
    this.model.begin(after + 1);
    this.following = false;
    this.subscribe({ lastEventId: after });
  }

  /** Whether reading stopped before the end, because the model was full. */
  get paused(): boolean {
    return this.live === null && !this.ended && this.failure === null;
  }

  /** Go on at the end, where reading had stopped. */
  newer(): void {
    if (this.paused) this.subscribe({ lastEventId: this.model.after });
  }

  /** Say how long the task's log is now. If it has grown beyond an end that was reached, the task runs again. */
  set lastSeq(seq: number) {
    this.length = seq;
    this.goOn();
  }

  /** The last event may be another job's, so an end that was reached again is an end. */
  private goOn(): void {
    if (!this.ended || this.length <= this.through) return;
    this.through = this.length;
    this.subscribe({ lastEventId: this.model.after });
  }

  get hasOlder(): boolean {
    return this.model.before > 1;
  }

  /** Load the page before the first line. */
  older(): void {
    if (!this.hasOlder || this.page !== null || this.closed) return;
    const before = this.model.before;
    const from = Math.max(1, before - this.window);
    const events: LogEvent[] = [];
    let size = 0;
    let breaks = 0;
    const done = () => {
      const page = this.page;
      if (page === null) return;
      this.page = null; // first, because ending a subscription calls onComplete
      page.unsubscribe();
      this.loadingOlder = false;
      // Meanwhile new lines may have pushed out the first ones, and the page would leave a gap; or they have filled the
      // model, and no older line takes the place of the end that the reader follows.
      const isFull = this.following && this.model.lines.length + breaks > KEPT_LINES;
      if (isFull || this.model.before !== before) return this.notify();
      const top = this.model.lines.at(0);
      const lines = this.model.prepend(events, from);
      if (size < PAGE_BYTES && lines < PAGE_LINES) this.window = Math.min(LARGEST_PAGE, this.window * 4);
      else if (size > 4 * PAGE_BYTES || lines > 4 * PAGE_LINES) this.window = Math.max(1, this.window >> 1);
      if (!this.following && this.model.lines.length >= LINE_LIMIT) this.pause();
      this.notify();
      if (this.model.lines.at(0) === top)
        this.older(); // nothing came that could be scrolled to
      else this.fill();
    };
    this.loadingOlder = true;
    const input = { taskId: this.taskId, job: this.job, follow: false, lastEventId: from - 1 };
    this.page = this.api.stream.taskEvents.subscribe(input, {
      onData: ({ data }) => {
        if (data.seq >= before) return done();
        events.push(data);
        size += data.type === 'output' ? data.data.length : 200;
        breaks += data.type === 'output' ? data.data.split('\n').length : 1;
      },
      onComplete: done,
      onError: (error) => {
        this.page = null;
        this.loadingOlder = false;
        this.fail(error);
      },
    });
    this.notify();
  }

  close(): void {
    this.closed = true;
    this.stop();
    cancelAnimationFrame(this.frame);
  }

  private subscribe(from: { tail?: number; lastEventId?: number }): void {
    this.ended = false;
    this.failure = null;
    const input = { taskId: this.taskId, job: this.job, follow: true, ...from };
    const mine: Unsubscribable = this.api.stream.taskEvents.subscribe(input, {
      onData: ({ data }) => this.take(data),
      onComplete: () => {
        if (this.live === mine) this.feed(Number.POSITIVE_INFINITY);
        if (this.live !== mine) return; // it was left, and did not come to its end
        this.live = null;
        this.ended = true;
        this.notify();
        this.through = Math.max(this.through, this.model.after);
        this.goOn();
      },
      onError: (error) => {
        if (this.live !== mine) return;
        this.live = null;
        this.fail(error);
      },
    });
    this.live = mine;
    this.notify();
  }

  private take(event: LogEvent): void {
    // a hidden page has no frames, and draws nothing that could freeze it
    const isFree = this.spent < FRAME_MS || globalThis.document?.hidden;
    this.backlog.add(event);
    if (isFree) this.feed(globalThis.document?.hidden ? Number.POSITIVE_INFINITY : FRAME_MS - this.spent);
    this.notify();
    this.fill();
  }

  /** Turn what waits into lines, for some milliseconds. */
  private feed(budget: number): void {
    const began = performance.now();
    while (!this.backlog.isEmpty && performance.now() - began < budget) {
      const item = this.backlog.next();
      if (item === undefined) break;
      if (isGap(item)) this.model.skip(item);
      else this.model.append(item);
      if (!this.following && this.model.lines.length >= LINE_LIMIT) this.pause();
    }
    this.spent += performance.now() - began;
  }

  /** Read more while there is less than a screen may show. */
  private fill(): void {
    if (this.following && this.model.lines.length < FIRST_LINES && this.hasOlder) this.older();
  }

  private pause(): void {
    const live = this.live;
    this.live = null;
    this.backlog.clear(); // it is read again, after what the model has
    live?.unsubscribe();
  }

  private stop(): void {
    this.pause();
    const page = this.page;
    this.page = null;
    page?.unsubscribe();
    this.loadingOlder = false;
  }

  private fail(error: unknown): void {
    const failure = failureOf(error);
    if (failure.reason === 'cursor_ahead') this.openAtEnd();
    else this.failure = failure;
    this.notify();
  }

  /** Tell the view, once a frame however much comes. */
  private notify(): void {
    if (this.frame !== 0 || this.closed) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.spent = 0;
      this.feed(FRAME_MS);
      this.changed();
      if (!this.backlog.isEmpty) this.notify();
    });
  }
}
