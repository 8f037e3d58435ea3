// Runs in the page before its own scripts: notes when a line of `pace` was on the screen, and the first view's link.
(() => {
  const edge = () => {
    const before = Date.now();
    while (Date.now() === before);
    return Date.now() - performance.now();
  };
  // the earliest of some edges of a millisecond: a thread that is interrupted sees one late
  const offset = Math.min(...Array.from({ length: 5 }, edge));
  const seen = new Set();
  let fresh = [];
  window.painted = [];
  let isShown;
  window.firstView = new Promise((resolve) => {
    isShown = resolve;
  });

  // A frame that begins after the line's frame: that one has been painted by then, so a figure is never too small.
  const afterPaint = (note) => requestAnimationFrame(() => note(performance.now()));
  const look = () => {
    for (const line of document.querySelectorAll('.log-line .log-text')) {
      const stamp = line.textContent.trim();
      if (/^\d{19}$/.test(stamp) && !seen.has(stamp)) {
        seen.add(stamp);
        fresh.push(stamp);
      }
    }
    if (fresh.length > 0) {
      const stamps = fresh;
      fresh = [];
      const inDocument = performance.now() + offset;
      afterPaint((now) => {
        for (const stamp of stamps) painted.push([stamp, inDocument, now + offset]);
      });
    }
    if (document.querySelector('.task-row a') !== null) afterPaint(isShown);
  };
  new MutationObserver(look).observe(document, { childList: true, subtree: true, characterData: true });
})();
