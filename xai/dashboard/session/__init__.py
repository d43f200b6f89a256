"""What the process and a session hold: models, images, uploads, background work, audits."""

from xai.dashboard.session.examples import KINDS, digest, example_audits, example_folder, has_example, save_example
from xai.dashboard.session.jobs import (
    STORE,
    Job,
    audit_path,
    audit_task,
    finished_audits,
    open_audit,
    open_audits,
    pin,
    pinned,
    progress_arguments,
    progress_in_turn,
    progress_parts,
    session_id,
    session_jobs,
    start_audit,
)
from xai.dashboard.session.models import (
    ExplanationRequest,
    PageExplanation,
    SharedModel,
    explanation_job,
    load_model,
    methods_job,
    model_names,
    open_model,
    predicted,
    rating_job,
    rows_of,
)
from xai.dashboard.session.samples import (
    DataSample,
    corruptions_job,
    curve_job,
    data_names,
    draw_sample,
    parted,
    shown_name,
    source_of,
    suitable_data,
    verb_job,
    with_parts,
)
from xai.dashboard.session.tasks import BackgroundTask, Key, PageLink, Report, size_of, task_queue
from xai.dashboard.session.uploads import (
    DATA,
    MODEL,
    SourceImage,
    UploadedData,
    UploadedImage,
    UploadedModel,
    add_data_folder,
    add_data_zip,
    add_image,
    add_model,
    from_path,
    garments,
    upload_store,
)

__all__ = [
    "DATA", "KINDS", "MODEL", "STORE", "BackgroundTask", "DataSample", "ExplanationRequest", "Job", "Key",
    "PageExplanation", "PageLink", "Report", "SharedModel", "SourceImage", "UploadedData", "UploadedImage",
    "UploadedModel", "add_data_folder", "add_data_zip", "add_image", "add_model", "audit_path", "audit_task",
    "corruptions_job", "curve_job", "data_names", "digest", "draw_sample", "example_audits", "example_folder",
    "explanation_job", "finished_audits", "from_path", "garments", "has_example", "load_model", "methods_job",
    "model_names", "open_audit", "open_audits", "open_model", "parted", "pin", "pinned", "predicted",
    "progress_arguments", "progress_in_turn", "progress_parts", "rating_job", "rows_of", "save_example", "session_id",
    "session_jobs", "shown_name", "size_of", "source_of", "start_audit", "suitable_data", "task_queue",
    "upload_store", "verb_job", "with_parts",
]  # fmt: skip
