"""What every training does alike: go on from a checkpoint, write its record, save, and end."""

from collections.abc import Callable
from pathlib import Path

from training.runtime.checkpoints import abandon_later_checkpoints, find_checkpoint, load_checkpoint, save_checkpoint
from training.runtime.processes import check_same_step
from training.runtime.resources import peak_memory
from training.runtime.run_folder import save_model
from training.runtime.run_record import RECORD, RunRecord, add_start, write_progress, write_record


class TrainingRun:
    """
    One start of a training in its folder.

    Args:
        folder: as `prepare_output_dir` made it. processor: saved beside the weights.
        fixed: what the run and its checkpoints must have in common, by name; `global_batch_size` is among them.
        total_limit: checkpoints that are kept. resume_from_checkpoint: the flag.
    """

    def __init__(self, accelerator, folder: Path, processor, fixed: dict, total_limit: int, resume_from_checkpoint):
        self.accelerator, self.folder, self.processor = accelerator, folder, processor
        self.resumes = resume_from_checkpoint is not None
        self.checkpoint = find_checkpoint(folder, resume_from_checkpoint) if self.resumes else None
        self.fixed, self.total_limit = fixed, total_limit
        self.is_main = accelerator.is_main_process
        self.scaler_state: dict = {}

    def load(self, model, optimizer, max_bad_images: int, free: tuple = (), defaults: dict | None = None) -> dict:
        """
        Loads the checkpoint, if there is one, into the model and the optimizer, before Accelerate prepares them.

        Args:
            max_bad_images: how many images may have broken since. free: names that may differ.
            defaults: values of what older checkpoints do not name.
        Returns:
            The checkpoint's state; {} without one.
        Raises:
            InputError: what differs, or processes that would go on from different steps.
        """
        state = {}
        if self.checkpoint is not None:
            expected = {name: value for name, value in self.fixed.items() if name not in free}
            state = load_checkpoint(self.checkpoint, model, optimizer, expected, max_bad_images, defaults)
        elif self.resumes:
            self.accelerator.print("no checkpoint found; starting from step 0")
        check_same_step(state.get("step", 0))
        self.scaler_state = state.get("scaler") or {}
        return state

    def prepare(self, model, optimizer):
        """Accelerate's model and optimizer, with fp16's loss scale as it was."""
        self.bare_model = model
        model, self.optimizer = self.accelerator.prepare(model, optimizer)
        if self.accelerator.scaler is not None and self.scaler_state:
            self.accelerator.scaler.load_state_dict(self.scaler_state)
        return model, self.optimizer

    def start(self, make_record: Callable[[], RunRecord], argv: list[str], step: int, planned_steps: int) -> None:
        """
        Writes run.json where the run begins, and this start into progress.json; sets later checkpoints aside.

        Args:
            make_record: called where run.json is written. argv: as typed. step: from where this start goes on.
        """
        if not self.is_main:
            return
        if self.checkpoint is not None:
            abandon_later_checkpoints(self.folder, self.checkpoint)
        if self.checkpoint is None or not (self.folder / RECORD).is_file():
            write_record(self.folder, make_record())
        add_start(self.folder, argv, self.accelerator.num_processes, step, planned_steps)

    def save(self, step: int, bad_images, state: dict, tensors: dict | None = None) -> None:
        """
        Writes a checkpoint and the progress; for the main process alone.

        Args:
            bad_images: keys of the unreadable images so far. state: what else the position consists of.
            tensors: further state dicts, see `save_checkpoint`.
        """
        state = {**self.fixed, **state, "step": step, "bad_images": sorted(bad_images)}
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        save_checkpoint(self.folder, state, self.bare_model, self.processor, self.optimizer, self.total_limit, tensors)
        write_progress(self.folder, step=step, bad_images=state["bad_images"], scaler=state.get("scaler"))

    def save_model(self, model) -> None:
        """Writes the loadable model at the top of the folder; for the main process alone."""
        save_model(self.folder, model, self.processor)

    def end(self, step: int, finished: bool) -> None:
        """Writes how far the run came and the memory it took, and closes its trackers."""
        if self.is_main:
            memory = peak_memory(self.accelerator.device)
            write_progress(self.folder, step=step, finished=finished, peak_memory_bytes=memory)
        self.accelerator.wait_for_everyone()
        for tracker in self.accelerator.trackers:
            tracker.finish()
