/** The page: its frame, and which view is in it. */

import "./style.css";
import { onSignedOut } from "./api";
import { h, icon, only } from "./dom";
import { forget, needed, token } from "./session";
import { history } from "./views/history";
import { newCase } from "./views/newcase";
import { signIn } from "./views/signin";
import { ticketView } from "./views/ticket";

/** Fills `root` until `signal` says that another view is wanted. */
type View = (root: HTMLElement, signal: AbortSignal) => void;

const main = h("main", { id: "main", tabindex: "-1" });
const links = {
  "": h("a", { href: "#/" }, "New case"),
  tickets: h("a", { href: "#/tickets" }, "History"),
};
const out = h("button", { class: "quiet", type: "button", onclick: () => leave("") }, "Sign out");
const nav = h("nav", { "aria-label": "Main" }, links[""], links["tickets"]);
let current = new AbortController();

function frame(): void {
  const skip = h(
    "a",
    {
      class: "skip",
      href: "#main",
      onclick: (event: MouseEvent) => {
        event.preventDefault();
        main.focus();
      },
    },
    "Skip to the content",
  );
  const logo = h("img", { src: "./favicon.svg", alt: "", width: 28, height: 28 });
  const brand = h("a", { class: "brand", href: "#/" }, logo, "nephra");
  const header = h("header", { class: "bar" }, brand, nav, out);
  const footer = h(
    "footer",
    {},
    icon("alert"),
    h("span", {}, "Not a medical device. Check every structure against the images."),
    h("a", { href: "docs" }, "API"),
  );
  only(document.body, skip, header, main, footer);
}

function route(): void {
  current.abort(new DOMException("another view", "AbortError"));
  current = new AbortController();
  const signedIn = !needed() || token() !== null;
  nav.hidden = out.hidden = !signedIn;
  out.hidden ||= !needed();
  if (!signedIn) return;
  const [, first = "", id] = location.hash.replace(/^#/, "").split("/");
  for (const [name, link] of Object.entries(links)) {
    if (name === first) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const view: View = first === "tickets" && id ? ticketView(id) : first === "tickets" ? history : newCase;
  document.body.dataset["view"] =
    first === "tickets" && id ? "ticket" : first === "tickets" ? "history" : "new";
  only(main);
  view(main, current.signal);
}

function leave(said: string): void {
  forget();
  document.body.dataset["view"] = "sign-in";
  route();
  signIn(main, said, () => route());
}

frame();
onSignedOut(leave);
window.addEventListener("hashchange", () => {
  route();
  main.focus();
});
if (needed() && token() === null) leave("");
else route();
