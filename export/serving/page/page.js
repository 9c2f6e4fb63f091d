"use strict";

// The page asks the server's own REST API; it has no other source of anything.

const $ = (id) => document.getElementById(id);
let models = [];

function headers() {
  const token = $("token").value;
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function get(path) {
  const response = await fetch(path, { headers: headers() });
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

async function predict(signature, inputs) {
  const { model, version } = chosen();
  const path = `/v1/models/${encodeURIComponent(model.model)}/versions/${version.version}:predict`;
  const body = JSON.stringify({ signature_name: signature, inputs });
  const response = await fetch(path, { method: "POST", body, headers: headers() });
  if (!response.ok) throw await failure(response);
  const shown = body.length > 600 ? `${body.slice(0, 600)} …` : body;
  $("curl").textContent += `curl -d '${shown}' \\\n  ${location.origin}${path}\n`;
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
    models = (await (await get("/page/models.json")).json()).filter((m) => m.versions.length);
  } catch (error) {
    if (error.status === 401) {
      $("token-label").hidden = false;
      $("about").textContent = "This server needs a token.";
      return false;
    }
    throw error;
  }
  if (!models.length) throw new Error("No model is loaded.");
  options($("model"), models.map((m) => [m.model, m.model]), true);
  showModel();
  return true;
}

function showModel() {
  const model = models.find((m) => m.model === $("model").value);
  const labels = (number) =>
    Object.entries(model.labels).filter(([, v]) => v === number).map(([label]) => ` (${label})`);
  options($("version"),
    model.versions.map((v) => [v.version, `${v.version}${labels(v.version).join("")}`]), true);
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
  options($("class"), [["any", "any"], ...classes.map((k) => [k, k])], true);
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

async function outputs() {
  const { version } = chosen();
  const png = version.image ? "_png" : "";
  const seed = number("seed");
  const component = $("component").value;
  const label = version.num_classes ? $("class").value : "any";
  if ($("mode").value === "samples") {
    const count = number("count");
    const seeds = [...Array(count).keys()].map((i) => [seed, i]);
    if (component === "any") {
      if (label === "any") return predict(`sample${png}`, { seeds });
      return predict(`sample_class${png}`, { seeds, labels: Array(count).fill(Number(label)) });
    }
    const drawn = await predict("draw", { seeds });
    return generate(drawn, Array(count).fill(Number(component)), label, png);
  }
  const [from, to, steps] = [number("from"), number("to"), number("steps")];
  const ends = await predict("draw", { seeds: [[seed, from], [seed, to]] });
  const times = [...Array(steps).keys()].map((k) => k / (steps - 1));
  const first = component === "any" ? ends.components[0] : Number(component);
  const drawn = { latents: times.map((t) => slerp(ends.latents[0], ends.latents[1], t)) };
  if (ends.labels) drawn.labels = times.map(() => ends.labels[0]);
  return generate(drawn, times.map(() => first), label, png);
}

function generate(drawn, components, label, png) {
  const inputs = { latents: drawn.latents, components };
  if (drawn.labels) {
    inputs.labels = label === "any" ? drawn.labels : components.map(() => Number(label));
  }
  return predict(`generate_component${png}`, inputs);
}

function show(result) {
  const { version } = chosen();
  $("images").hidden = !version.image;
  $("points").hidden = version.image;
  if (version.image) {
    $("images").replaceChildren(...result.map((value, i) => {
      const image = new Image();
      image.src = `data:image/png;base64,${value.b64}`;
      image.alt = `sample ${i}`;
      return image;
    }));
  } else {
    scatter(result, version.plot || {});
  }
}

function scatter(points, plot) {
  const canvas = $("points");
  const pen = canvas.getContext("2d");
  const size = canvas.width;
  const xs = points.map((p) => p[0]);
  const ys = points.map((p) => p[1]);
  const [x0, x1, y0, y1] = plot.window ||
    [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = 0.96 * size / Math.max(x1 - x0, y1 - y0, 1e-9);
  const at = ([x, y]) =>
    [size / 2 + scale * (x - (x0 + x1) / 2), size / 2 - scale * (y - (y0 + y1) / 2)];
  pen.clearRect(0, 0, size, size);
  pen.strokeStyle = "#000";
  for (const mode of plot.modes || []) {
    const [x, y] = at(mode);
    pen.beginPath();
    pen.moveTo(x - 6, y); pen.lineTo(x + 6, y); pen.moveTo(x, y - 6); pen.lineTo(x, y + 6);
    pen.stroke();
  }
  pen.fillStyle = points.length > 300 ? "rgba(200, 30, 30, 0.5)" : "rgb(200, 30, 30)";
  for (const point of points) {
    const [x, y] = at(point);
    pen.beginPath();
    pen.arc(x, y, 2.5, 0, 2 * Math.PI);
    pen.fill();
  }
}

async function draw(event) {
  if (event) event.preventDefault();
  const status = $("status");
  status.className = "";
  $("draw").disabled = true;
  try {
    if (!models.length && !(await loadModels())) return;
    status.textContent = "Drawing …";
    $("curl").textContent = "";
    const began = performance.now();
    const result = await outputs();
    show(result);
    status.textContent = `${result.length} drawn in ${Math.round(performance.now() - began)} ms`;
  } catch (error) {
    status.className = "error";
    status.textContent = error.message;
  } finally {
    $("draw").disabled = false;
  }
}

async function showCard() {
  if (!$("card").open || $("card-text").textContent) return;
  try {
    $("card-text").textContent = await (await get($("card-link").getAttribute("href"))).text();
  } catch (error) {
    $("card-text").textContent = error.message;
  }
}

$("form").addEventListener("submit", draw);
$("model").addEventListener("change", showModel);
$("version").addEventListener("change", showVersion);
$("mode").addEventListener("change", showMode);
$("card").addEventListener("toggle", showCard);
showMode();
draw();
