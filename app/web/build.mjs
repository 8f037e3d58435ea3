// Builds the dashboard into dist/: index.html, and assets whose names change with their content.
// `--tests` bundles the unit tests into build/tests/ instead, for node --test.
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const root = dirname(fileURLToPath(import.meta.url));
process.chdir(root);
const common = {
  bundle: true,
  format: 'esm',
  target: ['es2022'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  logLevel: 'warning',
  legalComments: 'none',
};

async function buildTests() {
  const tests = (await readdir('tests')).filter((name) => name.endsWith('.test.ts')).map((name) => `tests/${name}`);
  await rm('build/tests', { recursive: true, force: true });
  await build({ ...common, entryPoints: tests, outdir: 'build/tests', platform: 'node', sourcemap: 'inline' });
}

/** Return the licences of every package whose code is in the bundle. */
async function licences(inputs) {
  const packages = new Set();
  for (const input of inputs) {
    const found = input.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)\//);
    if (found) packages.add(found[1]);
  }
  const texts = [];
  for (const name of [...packages].sort()) {
    const folder = join('node_modules', name);
    const about = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
    const file = (await readdir(folder)).find((entry) => /^(licen[cs]e|copying)(\.|$)/i.test(entry));
    if (file === undefined) throw new Error(`${name} comes without a licence file`);
    const text = await readFile(join(folder, file), 'utf8');
    texts.push(`${name} ${about.version} (${about.license})\n\n${text.trim()}\n`);
  }
  return texts.join(`\n${'-'.repeat(80)}\n\n`);
}

async function buildPages() {
  const result = await build({
    ...common,
    entryPoints: { app: 'src/main.tsx', style: 'src/styles/all.css', icon: 'src/icon.svg' },
    entryNames: '[name]-[hash]',
    chunkNames: '[name]-[hash]',
    assetNames: '[name]-[hash]',
    loader: { '.svg': 'copy' },
    outdir: 'build/dist/assets',
    splitting: true,
    minify: true,
    metafile: true,
    define: { 'process.env.NODE_ENV': '"production"' },
  });
  const named = {};
  for (const [path, output] of Object.entries(result.metafile.outputs)) {
    if (output.entryPoint === 'src/main.tsx') named.js = basename(path);
    if (output.entryPoint === 'src/styles/all.css') named.css = basename(path);
    if (path.endsWith('.svg')) named.icon = basename(path);
  }
  const page = (await readFile('index.html', 'utf8')).replace(/%(\w+)%/g, (_, name) => named[name]);
  await writeFile('build/dist/index.html', page);
  await writeFile('build/dist/assets/licenses.txt', await licences(Object.keys(result.metafile.inputs)));
  for (const name of await readdir('build/dist/assets')) await compress(join('build/dist/assets', name));
}

/** Put compressed copies beside a file, so that no replica has to compress it. */
async function compress(path) {
  if (!/\.(js|css|svg)$/.test(path)) return;
  const content = await readFile(path);
  const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } };
  await writeFile(`${path}.br`, brotliCompressSync(content, quality));
  await writeFile(`${path}.gz`, gzipSync(content, { level: 9 }));
}

if (process.argv.includes('--tests')) {
  await buildTests();
} else {
  await rm('build/dist', { recursive: true, force: true });
  await mkdir('build/dist', { recursive: true });
  await buildPages();
  // a replica that serves the files meanwhile sees the old ones or the new ones
  await rm('build/old', { recursive: true, force: true });
  await rename('dist', 'build/old').catch(() => {});
  await rename('build/dist', 'dist');
  await rm('build/old', { recursive: true, force: true });
}
