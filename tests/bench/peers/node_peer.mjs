// Runs the load of python_peer.py in graphile-worker or pg-boss: `node_peer.mjs PEER MODE DSN COUNT`; prints JSON.
import { setTimeout as sleep } from "node:timers/promises";

import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";
import PgBoss from "pg-boss";

const CREATORS = 16;
const CONCURRENCY = 200; // as many as ado's four workers run in noop
const IDLE_MS = 20; // the worker waits again by then
const CHECK_MS = 5;

// Each peer gives: how to create a job, a query that counts the jobs that have not ended, how to stop.
const PEERS = {
  async "graphile-worker"(pool, _dsn, ran) {
    const logger = new Logger(() => () => {});
    const runner = await run({
      pgPool: pool, concurrency: CONCURRENCY, noHandleSignals: true, logger, taskList: { nothing: async () => ran() },
    });
    const utils = await makeWorkerUtils({ pgPool: pool, logger });
    return {
      create: () => utils.addJob("nothing", {}),
      unfinished: "select count(*)::int as count from graphile_worker.jobs",
      stop: async () => { await runner.stop(); await utils.release(); },
    };
  },
  async "pg-boss"(_pool, dsn, ran) {
    const boss = new PgBoss({ connectionString: dsn, max: 10 });
    boss.on("error", (error) => { throw error; });
    await boss.start();
    await boss.createQueue("nothing");
    // 0.5 s between two looks at the queue is the least that it accepts; it does not listen
    const options = { batchSize: 50, pollingIntervalSeconds: 0.5 };
    for (let worker = 0; worker < 4; worker++) await boss.work("nothing", options, async () => ran());
    return {
      create: () => boss.send("nothing", {}),
      unfinished: "select count(*)::int as count from pgboss.job where name = 'nothing' and state <> 'completed'",
      stop: () => boss.stop({ graceful: false, wait: false }),
    };
  },
};

const [name, mode, dsn, count] = process.argv.slice(2);
const pool = new pg.Pool({ connectionString: dsn, max: 10 });
pool.on("error", (error) => { throw error; });
pool.on("connect", (client) => client.on("error", (error) => { throw error; }));
let ran = () => {};
const peer = await PEERS[name](pool, dsn, () => ran());

async function ended() {
  while ((await pool.query(peer.unfinished)).rows[0].count) await sleep(CHECK_MS);
}

async function pickup() {
  const running = new Promise((resolve) => { ran = resolve; });
  const began = performance.now();
  await peer.create();
  await running;
  return (performance.now() - began) / 1000;
}

async function jobs() {
  const share = Math.floor(count / CREATORS);
  const began = performance.now();
  await Promise.all(Array.from({ length: CREATORS }, async () => {
    for (let number = 0; number < share; number++) await peer.create();
  }));
  await ended();
  return ((performance.now() - began) / 1000) * count / (share * CREATORS);
}

await pickup(); // the first one waits for the worker's start
await ended();
let result;
if (mode === "jobs") {
  result = await jobs();
} else {
  result = [];
  for (let number = 0; number < count; number++) {
    await sleep(IDLE_MS);
    result.push(await pickup());
  }
}
console.log(JSON.stringify(result));
await peer.stop();
process.exit(0);
