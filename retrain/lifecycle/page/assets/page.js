// Shows the run as it goes on: the server sends the changed part of the page as it is rendered there.
const run = document.getElementById("run");
const spoken = document.getElementById("spoken");
const silent = document.getElementById("silent");
const changes = new EventSource("events");

// Screen readers hear of a new stage and of the outcome, not of each step.
function speak() {
  const stage = run.querySelector("[aria-current=step] span");
  const headline = run.querySelector("#headline");
  const text = run.querySelector(".running") && stage ? stage.textContent : headline.textContent;
  if (spoken.textContent !== text) spoken.textContent = text;
}

// What has not changed stays, with its focus, its selection and where it is scrolled to.
function show(html) {
  const next = document.createElement("main");
  next.innerHTML = html;
  const [old, fresh] = [[...run.children], [...next.children]];
  if (old.length !== fresh.length) {
    run.replaceChildren(...fresh);
    return;
  }
  fresh.forEach((part, i) => { if (part.outerHTML !== old[i].outerHTML) old[i].replaceWith(part); });
}

changes.onmessage = (message) => {
  show(JSON.parse(message.data));
  silent.hidden = true;
  speak();
};
changes.onerror = () => { silent.hidden = false; };
