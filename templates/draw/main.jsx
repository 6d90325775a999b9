import {createRoot} from "react-dom/client";
import {Excalidraw, restore, serializeAsJSON} from "@excalidraw/excalidraw";
import "@excalidraw/excalidraw/index.css";
import {get, set} from "idb-keyval";

// The drawing, and the shelf of shapes, live in the browser's database.
const saved = await get("drawing").catch(() => undefined);
const library = await get("library").catch(() => undefined);
const restored = saved ? restore(JSON.parse(saved), null, null) : undefined;
if (restored) delete restored.appState.collaborators;

let timer;
const save = (elements, state, files) => {
  clearTimeout(timer);
  timer = setTimeout(() => set("drawing", serializeAsJSON(elements, state, files, "local")), 300);
};

createRoot(document.getElementById("root")).render(
  <Excalidraw
    initialData={{...restored, libraryItems: library}}
    onChange={save}
    onLibraryChange={(items) => set("library", items)}
    handleKeyboardGlobally
    autoFocus
  />,
);
