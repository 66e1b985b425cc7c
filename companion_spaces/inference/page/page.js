// Sends what was typed to predict, and shows the answer; all text is set as text, never as HTML.
const form = document.getElementById("form");
const text = document.getElementById("text");
const token = document.getElementById("token");
const tokenPart = document.getElementById("token-part");
const ask = document.getElementById("ask");
const answer = document.getElementById("answer");
const about = document.getElementById("about");

function element(name, content, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = content;
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  return made;
}

function percent(share) { return `${Math.round(share * 100)} %`; }

function showScores(found) {
  const rows = Object.entries(found.scores).sort((a, b) => b[1] - a[1]).map(([label, score]) => {
    const row = element("div", "", { class: label === found.label ? "score best" : "score" });
    row.append(element("span", label), element("meter", "", { max: 1, value: score, "aria-label": label }), element("span", percent(score)));
    return row;
  });
  answer.replaceChildren(element("h2", `${found.label}, ${percent(found.confidence)} sure`), ...rows);
}

function showTrouble(words) { answer.replaceChildren(element("p", words, { class: "notice" })); }

const TROUBLE = {
  401: "This service needs a token to classify. Enter it above and try again.",
  413: "The text is too long: at most 10,000 characters.",
  422: "The text is empty or too long: write 1 to 10,000 characters.",
  429: "Too many requests at a time. Wait a moment and try again.",
};

async function classify() {
  ask.disabled = true;
  answer.setAttribute("aria-busy", "true");
  const headers = { "Content-Type": "application/json" };
  if (token.value) headers.Authorization = `Bearer ${token.value}`;
  try {
    const reply = await fetch("predict", { method: "POST", headers, body: JSON.stringify({ text: text.value }) });
    if (reply.ok) showScores(await reply.json());
    else {
      if (reply.status === 401) { tokenPart.hidden = false; token.focus(); }
      showTrouble(TROUBLE[reply.status] || (reply.status === 503
        ? "It can't answer just now: see below, and try again in a moment." : `It could not answer (${reply.status}).`));
      if (reply.status === 503) showState();
    }
  } catch { showTrouble("The service was not reached. Check your connection and try again."); }
  answer.setAttribute("aria-busy", "false");
  ask.disabled = false;
}

form.addEventListener("submit", (event) => { event.preventDefault(); classify(); });
document.querySelectorAll(".example").forEach((example) => example.addEventListener("click", () => {
  text.value = example.textContent;
  classify();
}));

const TAG = /^v(\d{4})(\d\d)(\d\d)_(\d\d)(\d\d)\d\d$/;
const AGAIN_MS = 5000;

function inWords(state) {
  const time = TAG.exec(state.model_version || "");
  if (state.model_version || state.model_revision) {
    const name = state.model_version || state.model_revision.slice(0, 12);
    return `Version ${name}${time ? `, released on ${time[1]}-${time[2]}-${time[3]} at ${time[4]}:${time[5]} UTC,` : ""} of ${state.model_repo} answers.`
      + (state.reason ? ` A newer state can't be had at present: ${state.reason}.` : "");
  }
  if ((state.reason || "").startsWith("no version yet")) {
    return `There is no version yet: ${state.model_repo} holds no model. The first retraining run that is accepted makes one, and this page answers a moment later.`;
  }
  return state.reason ? `It waits: ${state.reason}.` : "The model is being loaded: a minute or two.";
}

// Until something answers it asks again: who has the page open sees when it can be used.
async function showState() {
  let state = null;
  try { state = await (await fetch("health", { headers: { Accept: "application/json" } })).json(); } catch { /* said below */ }
  const words = state ? inWords(state) : "The service was not reached.";
  if (about.textContent !== words) about.replaceChildren(element("p", words));
  if (!state || !(state.model_version || state.model_revision)) setTimeout(showState, AGAIN_MS);
}
showState();
