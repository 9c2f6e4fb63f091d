"use strict";

// The page asks the server's own REST API; it has no other source of anything.

const $ = (id) => document.getElementById(id);
// A body up to this many characters is shown as a command.
const SHOWN = 20000;
let models = [];
// Of the draw that is under way: a later one aborts it.
let current = null;

function headers() {
  const token = $("token").value;
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function get(path, signal) {
  const response = await fetch(path, { headers: headers(), signal });
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response) {
  let message = `${response.status} ${response.statusText}`;
  try {
    message = (await response.json()).error || message;
  } catch (_) { /* not JSON */ }
  const error = new Error(message);
  error.status = response.status;
  return error;
}

async function predict({ model, version, signal, commands }, signature, inputs) {
  const path = `/v1/models/${encodeURIComponent(model.model)}/versions/${version.version}:predict`;
  const body = JSON.stringify({ signature_name: signature, inputs });
  const response = await fetch(path, { method: "POST", body, headers: headers(), signal });
  if (!response.ok) throw await failure(response);
  const bearer = $("token").value ? '-H "Authorization: Bearer $TOKEN" ' : "";
  commands.push(body.length > SHOWN
    ? `# ${signature}: a request of ${body.length} characters, too long to show`
    : `curl ${bearer}-d '${body}' ${location.origin}${path}`);
  return (await response.json()).outputs;
}

function chosen() {
  const model = models.find((m) => m.model === $("model").value);
  const version = model.versions.find((v) => String(v.version) === $("version").value);
  return { model, version };
}

function options(select, entries, keep) {
  const before = select.value;
  select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  if (keep && entries.some(([value]) => String(value) === before)) select.value = before;
}

async function loadModels() {
  try {
    const described = await (await get("/page/models.json")).json();
    models = described.models.filter((m) => m.versions.length);
    for (const id of ["count", "steps"]) {
      $(id).max = described.max_rows;
      if (Number($(id).value) > described.max_rows) $(id).value = described.max_rows;
    }
  } catch (error) {
    if (error.status !== 401) throw error;
    models = [];
    $("token-label").hidden = false;
    $("about").textContent = "This server needs a token.";
    if ($("token").value) throw new Error("The server does not know this token.");
    return false;
  }
  if (!models.length) throw new Error("No model is loaded.");
  const before = $("model").value;
  options($("model"), models.map((m) => [m.model, m.model]), true);
  showModel($("model").value === before);
  return true;
}

// `keep`: the version that is chosen, if the model still has it; else the newest.
function showModel(keep) {
  const model = models.find((m) => m.model === $("model").value);
  const labels = (number) =>
    Object.entries(model.labels).filter(([, v]) => v === number).map(([label]) => ` (${label})`);
  options($("version"),
    model.versions.map((v) => [v.version, `${v.version}${labels(v.version).join("")}`]), keep);
  showVersion();
}

function showVersion() {
  const { model, version } = chosen();
  const components = [...Array(version.num_components).keys()];
  options($("component"), [
    ["any", "mixture"],
    ...components.map((j) => [j, `${j} (weight ${version.weights[j].toPrecision(3)})`]),
  ], true);
  const classes = [...Array(version.num_classes || 0).keys()];
  $("class-label").hidden = !classes.length;
  options($("class"), [["any", "any"], ...classes.map((k) => [k, version.class_names?.[k] ?? k])], true);
  const kind = version.image ? `images ${version.sample_shape.join(" × ")}` : "points";
  $("about").textContent =
    `${kind} from ${version.dataset || "unknown data"}, by ${version.algorithm || "?"}; ` +
    `${version.num_components} generator${version.num_components > 1 ? "s" : ""}`;
  $("card-link").href = `/card/${encodeURIComponent(model.model)}/${version.version}`;
  $("card").open = false;
  $("card-text").textContent = "";
}

function showMode() {
  const path = $("mode").value === "interpolation";
  for (const label of document.querySelectorAll("label.interpolation")) label.hidden = !path;
  for (const label of document.querySelectorAll("label.samples")) label.hidden = path;
}

function number(id) {
  const input = $(id);
  const value = Number(input.value);
  if (input.value === "" || !Number.isSafeInteger(value) || value < Number(input.min) ||
      value > Number(input.max)) {
    throw new Error(`${input.closest("label").firstChild.textContent.trim()} must be a whole ` +
      `number from ${input.min} to ${input.max}.`);
  }
  return value;
}

// Great-circle path between two latents: its points have the length that normal draws have.
function slerp(a, b, t) {
  const norm = (x) => Math.hypot(...x);
  const dot = a.reduce((sum, x, i) => sum + x * b[i], 0) / (norm(a) * norm(b));
  const angle = Math.acos(Math.min(1, Math.max(-1, dot)));
  if (angle < 1e-6) return a.map((x, i) => x + t * (b[i] - x));
  const [p, q] = [Math.sin((1 - t) * angle), Math.sin(t * angle)].map((x) => x / Math.sin(angle));
  return a.map((x, i) => p * x + q * b[i]);
}

async function outputs(call) {
  const { version } = call;
  const png = version.image ? "_png" : "";
  const seed = number("seed");
  const component = $("component").value;
  const label = version.num_classes ? $("class").value : "any";
  if ($("mode").value === "samples") {
    const count = number("count");
    const seeds = [...Array(count).keys()].map((i) => [seed, i]);
    if (component === "any") {
      if (label === "any") return predict(call, `sample${png}`, { seeds });
      const labels = Array(count).fill(Number(label));
      return predict(call, `sample_class${png}`, { seeds, labels });
    }
    const drawn = await predict(call, "draw", { seeds });
    return generate(call, drawn, Array(count).fill(Number(component)), label, png);
  }
  const [from, to, steps] = [number("from"), number("to"), number("steps")];
  const ends = await predict(call, "draw", { seeds: [[seed, from], [seed, to]] });
  const times = [...Array(steps).keys()].map((k) => k / (steps - 1));
  // One generator and one class for the whole path: those of its first sample.
  const first = component === "any" ? ends.components[0] : Number(component);
  call.by = ` by component ${first}`;
  const drawn = { latents: times.map((t) => slerp(ends.latents[0], ends.latents[1], t)) };
  if (ends.labels) drawn.labels = times.map(() => ends.labels[0]);
  return generate(call, drawn, times.map(() => first), label, png);
}

function generate(call, drawn, components, label, png) {
  const inputs = { latents: drawn.latents, components };
  if (drawn.labels) {
    inputs.labels = label === "any" ? drawn.labels : components.map(() => Number(label));
  }
  return predict(call, `generate_component${png}`, inputs);
}

function show({ version }, result) {
  const flat = !version.image && version.sample_shape.length === 1 && version.sample_shape[0] === 2;
  $("images").hidden = !version.image;
  $("points").hidden = !flat;
  $("values").hidden = version.image || flat;
  if (version.image) {
    $("images").replaceChildren(...result.map((value, i) => {
      const image = new Image();
      image.src = `data:image/png;base64,${value.b64}`;
      image.alt = `sample ${i}`;
      return image;
    }));
  } else if (flat) {
    scatter(result, version.plot || {});
  } else {
    $("values").textContent = result.map((row) => JSON.stringify(row)).join("\n");
  }
}

// Round numbers in [low, high], about five of them.
function ticks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((k) => k * power >= rough);
  const first = Math.ceil(low / step);
  const marks = [...Array(Math.max(0, Math.floor(high / step) - first + 1)).keys()];
  return marks.map((k) => Number(((first + k) * step).toPrecision(12)));
}

function scatter(points, plot) {
  const canvas = $("points");
  const pen = canvas.getContext("2d");
  const left = 80, bottom = 50, right = 12;
  const size = canvas.width - left - right;
  const top = canvas.height - bottom - size;
  const xs = points.map((p) => p[0]);
  const ys = points.map((p) => p[1]);
  const [x0, x1, y0, y1] = plot.window ||
    [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  // A square around the window, with a margin.
  const half = 0.52 * Math.max(x1 - x0, y1 - y0, 1e-6);
  const [cx, cy] = [(x0 + x1) / 2, (y0 + y1) / 2];
  const at = ([x, y]) =>
    [left + size * (0.5 + (x - cx) / (2 * half)), top + size * (0.5 - (y - cy) / (2 * half))];
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.font = "22px system-ui, sans-serif";
  pen.fillStyle = "#555";
  pen.strokeStyle = "#e4e4e4";
  pen.lineWidth = 2;
  for (const value of ticks(cx - half, cx + half)) {
    const [x] = at([value, cy]);
    pen.beginPath(); pen.moveTo(x, top); pen.lineTo(x, top + size); pen.stroke();
    pen.textAlign = "center";
    pen.fillText(value, x, top + size + 32);
  }
  for (const value of ticks(cy - half, cy + half)) {
    const [, y] = at([cx, value]);
    pen.beginPath(); pen.moveTo(left, y); pen.lineTo(left + size, y); pen.stroke();
    pen.textAlign = "right";
    pen.fillText(value, left - 10, y + 8);
  }
  pen.strokeStyle = "#888";
  pen.strokeRect(left, top, size, size);
  if (plot.modes) pen.fillText("+ modes of the data", left + size, top - 12);
  pen.save();
  pen.beginPath();
  pen.rect(left, top, size, size);
  pen.clip();
  pen.fillStyle = points.length > 300 ? "rgba(200, 30, 30, 0.5)" : "rgb(200, 30, 30)";
  const radius = points.length > 300 ? 4 : 6;
  for (const point of points) {
    const [x, y] = at(point);
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.fill();
  }
  pen.strokeStyle = "#000";
  pen.lineWidth = 3;
  for (const mode of plot.modes || []) {
    const [x, y] = at(mode);
    pen.beginPath();
    pen.moveTo(x - 10, y); pen.lineTo(x + 10, y); pen.moveTo(x, y - 10); pen.lineTo(x, y + 10);
    pen.stroke();
  }
  pen.restore();
}

async function draw(event) {
  if (event) event.preventDefault();
  if (current) current.abort();
  const mine = current = new AbortController();
  const say = (text, bad) => {
    $("status").className = bad ? "error" : "";
    $("status").textContent = text;
  };
  say("Drawing …");
  try {
    if (!models.length && !(await loadModels())) return say("");
    // As they are now: what is chosen while the server works belongs to the next draw.
    const call = { ...chosen(), signal: mine.signal, commands: [], by: "" };
    const began = performance.now();
    const result = await outputs(call);
    if (mine.signal.aborted) return;
    show(call, result);
    $("curl").textContent = call.commands.join("\n");
    say(`${result.length} drawn${call.by} in ${Math.round(performance.now() - began)} ms`);
  } catch (error) {
    if (mine.signal.aborted) return;
    if (error.status === 404) models = []; // another version may have taken over
    say(error.status === 404 ? `${error.message}. Draw again for the versions of now.`
      : error.message, true);
  }
}

async function showCard() {
  if (!$("card").open || $("card-text").textContent) return;
  const path = $("card-link").getAttribute("href");
  try {
    const text = await (await get(path)).text();
    if (path !== $("card-link").getAttribute("href")) return; // another version was chosen
    $("card-text").textContent = text;
    // A link bears no token.
    if ($("token").value) {
      const file = new Blob([text], { type: "text/plain; charset=utf-8" });
      $("card-link").href = URL.createObjectURL(file);
    }
  } catch (error) {
    $("card-text").textContent = error.message;
  }
}

$("model").addEventListener("change", () => showModel(false));
$("version").addEventListener("change", showVersion);
$("mode").addEventListener("change", showMode);
$("card").addEventListener("toggle", showCard);
$("form").addEventListener("submit", draw);
$("form").addEventListener("change", (event) => {
  if (event.target.matches("select")) draw();
});
showMode();
draw();
