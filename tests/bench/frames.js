// Runs in the page before its own scripts: notes the milliseconds between two frames.
(() => {
  window.gaps = [];
  let before = performance.now();
  const tick = () => {
    const now = performance.now();
    gaps.push(now - before);
    before = now;
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
})();
