"use strict";
/* The live camera: a picture at a steady interval goes the way of an upload. Needs dom.js before it.
 * `send` takes a list of files and returns a promise. */
(() => {
  const { el } = globalThis.flawsight;
  const REASONS = {
    NotAllowedError: "The camera is not allowed; allow it for this page in the browser.",
    NotFoundError: "There is no camera.",
    OverconstrainedError: "This camera is gone; choose another one.",
    NotReadableError: "The camera does not answer; does another program use it?",
  };

  function camera(send) {
    const section = el("details", { class: "sv-camera" }, el("summary", {}, "Live camera"));
    const { mediaDevices } = navigator;
    if (!mediaDevices?.getUserMedia) {
      section.append(el("p", {}, "Browsers give pages a camera only over https or on localhost. "
        + "Open this page in one of these ways."));
      return section;
    }
    const video = el("video", { playsinline: true, "aria-label": "Camera picture", hidden: true });
    video.muted = true;
    const said = el("p", { role: "status" });
    const choice = el("select", { onchange: () => start() });
    const chosen = el("label", { hidden: true }, "Camera in use", choice);
    const seconds = el("input", {
      type: "number", min: 0.2, max: 3600, step: "any", value: 2, inputmode: "decimal", onchange: () => restart(),
    });
    const begin = el("button", { type: "button", onclick: () => start() }, "Start");
    const end = el("button", { type: "button", hidden: true, onclick: () => stop("Stopped.") }, "Stop");
    let stream = null;
    let timer = null;
    let starting = 0; // counts the starts, so that only the last one counts
    let busy = false;
    let sent = 0;
    let skipped = 0;

    function close() {
      clearTimeout(timer);
      for (const track of stream?.getTracks() ?? []) track.stop();
      stream = null;
      video.srcObject = null;
    }

    function stop(reason) {
      starting += 1;
      const hadFocus = document.activeElement === end;
      close();
      video.hidden = end.hidden = chosen.hidden = true;
      begin.hidden = false;
      if (hadFocus) begin.focus();
      said.textContent = reason;
    }

    async function start() {
      const mine = ++starting;
      close();
      sent = skipped = 0;
      said.textContent = "Opening the camera …";
      const device = choice.value ? { deviceId: { exact: choice.value } } : { facingMode: "environment" };
      try {
        const wanted = { ...device, width: { ideal: 1920 }, height: { ideal: 1080 } };
        const opened = await mediaDevices.getUserMedia({ audio: false, video: wanted });
        if (mine !== starting) {
          for (const track of opened.getTracks()) track.stop();
          return;
        }
        stream = opened;
        const [track] = stream.getVideoTracks();
        track.addEventListener("ended", () => stop("The camera was disconnected."));
        video.hidden = false;
        video.srcObject = stream;
        await video.play();
        const cameras = (await mediaDevices.enumerateDevices()).filter((one) => one.kind === "videoinput");
        if (mine !== starting) return;
        const used = track.getSettings().deviceId;
        choice.replaceChildren(...cameras.map((one, index) => el("option", {
          value: one.deviceId, selected: one.deviceId === used,
        }, one.label || `Camera ${index + 1}`)));
        const hadFocus = document.activeElement === begin;
        begin.hidden = true;
        end.hidden = chosen.hidden = false;
        if (hadFocus) end.focus();
        tell();
        restart();
      } catch (error) {
        if (mine === starting) stop(REASONS[error.name] ?? `The camera cannot be opened: ${error.message}`);
      }
    }

    function tell() {
      said.textContent = `${sent} pictures sent${skipped ? `, ${skipped} skipped: the service is slower` : ""}.`;
    }

    /** Take pictures from now on, each a whole number of intervals after the first. */
    function restart() {
      clearTimeout(timer);
      if (!stream) return;
      if (!seconds.checkValidity() || seconds.value === "") {
        said.textContent = "The interval is a number of seconds from 0.2 to 3600.";
        return;
      }
      const interval = Number(seconds.value) * 1000;
      let due = performance.now();
      const tick = () => {
        if (busy) skipped += 1;
        else shoot();
        tell();
        due += interval;
        timer = setTimeout(tick, Math.max(0, due - performance.now()));
      };
      tick();
    }

    async function shoot() {
      busy = true;
      try {
        const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
        canvas.getContext("2d").drawImage(video, 0, 0);
        const picture = await new Promise((done) => { canvas.toBlob(done, "image/jpeg", 0.95); });
        const time = new Date().toISOString().replace(/[:.]/g, "-");
        if (picture && stream) {
          await send([new File([picture], `camera-${time}.jpg`, { type: "image/jpeg" })]);
          sent += 1;
        }
      } finally {
        busy = false;
        if (stream) tell();
      }
    }

    section.append(
      el("div", { class: "sv-live" },
        chosen, el("label", {}, "Seconds between two pictures", seconds), begin, end),
      said, video);
    return section;
  }

  globalThis.flawsight.camera = camera;
})();
