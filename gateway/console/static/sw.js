// Makes the console installable: its files open without the gateway, and then say that it does not answer.
//
// Only files are ever kept, never a value or an alarm: what the API says goes through untouched, so nothing old can look live.
// A file is always asked of the gateway first, and the kept one is used only when it does not answer.

const KEPT = "pharmedge-files";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  const file = event.request.method === "GET" && url.origin === location.origin && !/\/(api|metrics|healthz|readyz|version)(\/|$)/.test(url.pathname);
  if (file) event.respondWith(answer(event.request));
});

async function answer(request) {
  const kept = await caches.open(KEPT);
  try {
    const fresh = await fetch(request);
    if (fresh.ok) await kept.put(request, fresh.clone());
    return fresh;
  } catch (error) {
    const old = await kept.match(request, { ignoreSearch: true });
    if (old) return old;
    throw error;
  }
}

// A click on a notification leads to the alarms.
self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(self.clients.matchAll({ type: "window" }).then((pages) => (pages.length ? pages[0].focus() : self.clients.openWindow("./#/alarms"))));
});
