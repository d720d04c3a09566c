/** The way in. */

import { labels } from "../api";
import { h, only } from "../dom";
import { forget, keep } from "../session";

/** Ask for a token, try it, and go on. */
export function signIn(root: HTMLElement, said: string, then: () => void): void {
  const problem = h("p", { class: "problem", role: "alert" }, said);
  const field = h("input", {
    id: "token",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "token-help",
  });
  const button = h("button", { class: "primary", type: "submit" }, "Sign in");
  const form = h(
    "form",
    {
      class: "card sign-in",
      onsubmit: async (event: SubmitEvent) => {
        event.preventDefault();
        button.disabled = true;
        problem.textContent = "";
        keep(field.value.trim());
        try {
          await labels();
          then();
        } catch (error) {
          forget();
          problem.textContent = (error as Error).message;
          button.disabled = false;
          field.focus();
        }
      },
    },
    h("h1", {}, "Sign in"),
    h("p", { class: "lead" }, "From the CT phases of a kidney patient to one named 3D scene."),
    h("label", { for: "token" }, "Access token"),
    field,
    h(
      "p",
      { id: "token-help", class: "hint" },
      "From whoever runs this installation. It is kept in this tab only, until the tab is closed.",
    ),
    problem,
    button,
  );
  only(root, form);
  field.focus();
}
