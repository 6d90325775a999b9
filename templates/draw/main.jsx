import {createRoot} from "react-dom/client";
import {CaptureUpdateAction, Excalidraw, restore, serializeAsJSON} from "@excalidraw/excalidraw";
import "@excalidraw/excalidraw/index.css";
import {createStore, get, set} from "idb-keyval";

// The drawing, and the shelf of shapes, live in the browser's database.
const saved = await get("drawing").catch(() => undefined);
const library = await get("library").catch(() => undefined);
let restored;
try {
  if (saved) restored = restore(JSON.parse(saved), null, null);
} catch {
  // the next stroke would replace it
  await set("drawing-broken", saved).catch(() => undefined);
}
if (restored) delete restored.appState.collaborators;

// where `get` and `set` look, too
const database = createStore("keyval-store", "keyval");
let api;
let timer;
let scene; // what is not written yet
let written; // the text that is kept; of none, the next scene is as it is kept
const write = () => {
  clearTimeout(timer);
  if (!scene) return;
  const text = serializeAsJSON(...scene, "local");
  scene = undefined;
  if (text === written) return;
  written = text;
  database("readwrite", (store) => {
    store.put(text, "drawing");
    // one that waits for its turn is lost with a tab that goes
    store.transaction.commit();
  });
  tabs.postMessage(text);
};
// called for whatever the pointer does, too
const changed = (...now) => {
  written ??= serializeAsJSON(...now, "local");
  scene = now;
  clearTimeout(timer);
  timer = setTimeout(write, 300);
};

// All tabs show the one drawing: a tab with an older one would write that over it.
const tabs = new BroadcastChannel("drawing");
tabs.onmessage = ({data}) => {
  if (!api) return;
  const {appState} = JSON.parse(data);
  const {elements, files} = restore(JSON.parse(data), null, null);
  clearTimeout(timer);
  scene = written = undefined;
  api.addFiles(Object.values(files));
  api.updateScene({elements, appState, captureUpdate: CaptureUpdateAction.NEVER});
};
addEventListener("pagehide", write);
document.addEventListener("visibilitychange", write);

createRoot(document.getElementById("root")).render(
  <Excalidraw
    initialData={{...restored, libraryItems: library}}
    excalidrawAPI={(made) => { api = made; }}
    onChange={changed}
    onLibraryChange={(items) => set("library", items)}
    handleKeyboardGlobally
    autoFocus
  />,
);
