// Work that is done again and again, but only while somebody can see it.

/** Calls `work` now and each `ms` while the tab is in sight, never twice at a time; returns how to stop. */
export function whileSeen(work, ms) {
  let busy = false;
  const once = async () => {
    if (busy || document.hidden) return;
    busy = true;
    try {
      await work();
    } catch {
      // what could not be had is asked for again: the connection's own state says what is wrong
    } finally {
      busy = false;
    }
  };
  const timer = setInterval(once, ms);
  document.addEventListener("visibilitychange", once);
  once();
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", once);
  };
}
