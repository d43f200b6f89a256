"""The choice of model, image and data on a page, kept when the page changes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import streamlit as st

import xai
from xai.dashboard.environment import given_model
from xai.dashboard.session import (
    DATA,
    MODEL,
    DataSample,
    SharedModel,
    SourceImage,
    UploadedImage,
    add_image,
    data_names,
    draw_sample,
    from_path,
    garments,
    load_model,
    model_names,
    predicted,
    suitable_data,
    upload_store,
)
from xai.dashboard.session import data_names as offered_data
from xai.dashboard.text import percent, safe, t
from xai.dashboard.widgets.background import stop_on_error


def remember(kind: str, name: str) -> None:
    """Keep what was chosen for the other pages."""
    st.session_state[f"chosen {kind}"] = name


def forget(kind: str) -> None:
    """Keep no choice for the other pages."""
    st.session_state.pop(f"chosen {kind}", None)


def take_over(offered: Mapping[str, Sequence[str]]) -> None:
    """Choose what the page before had chosen, unless the link has a choice of its own.

    Args:
        offered: what there is, by the name of the choice.
    """
    for kind, names in offered.items():
        chosen = st.session_state.get(f"chosen {kind}")
        if chosen is not None and chosen in names[1:] and kind not in st.query_params:  # the first is chosen by default
            st.session_state[kind] = st.query_params[kind] = chosen


def only_among(kind: str, names: Sequence[str]) -> None:
    """Forget a choice that this page does not offer."""
    if kind in st.session_state and st.session_state[kind] not in names:
        del st.session_state[kind]
    if kind in st.query_params and st.query_params[kind] not in names:
        del st.query_params[kind]


def choose_next(kind: str, name: str) -> None:
    """Choose what has just been added to what is offered, and run the page again.

    Streamlit puts a choice into the address only where the widget was already there with the same options, so the page
    runs once with the new options and once more with the choice: see `settled`.
    """
    st.session_state[f"next {kind}"] = name
    st.rerun()


@contextmanager
def settled(kind: str) -> Iterator[None]:
    """Surround the widget of a choice on the page that `choose_next` is called on."""
    waiting = f"next {kind}", f"now {kind}"
    if waiting[1] in st.session_state:
        st.session_state[kind] = st.session_state.pop(waiting[1])
    yield
    if waiting[0] in st.session_state:
        st.session_state[waiting[1]] = st.session_state.pop(waiting[0])
        st.rerun()


def choose_one(label: str, texts: Sequence[str], key: str) -> str:
    """Let the user choose one of some texts, the first one at the start; the choice is in the address.

    Args:
        label: in the language of the page.
        texts: in English, as `t` takes them; what is returned is one of these.
        key: of the choice, in the address too.
    """
    chosen: str = st.segmented_control(
        label, texts, default=texts[0], required=True, format_func=t, key=key, bind="query-params"
    )
    return chosen


TYPES = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"]
MEGABYTES = 20
UPLOAD_KEY = "upload"  # its name in the address
_SAMPLES = ("photo", "garment")  # a link to one of these wins over an image brought before


def upload_image(key: str = UPLOAD_KEY) -> SourceImage | None:
    """Take an image file, as bytes: nothing is decoded here. It stays until it is taken away or another one comes.

    Args:
        key: its name in the address.
    """
    _restore(key)
    upload = st.file_uploader(t("Your image"), TYPES, key="image", max_upload_size=MEGABYTES)
    last = f"last {key}"
    if upload is not None and st.session_state.get(last) != upload.file_id:
        st.session_state[last] = upload.file_id
        choose(key, add_image(upload.name, upload.getvalue()).name)
    elif upload is None and st.session_state.pop(last, None) is not None:
        choose(key, None)
    photo: UploadedImage | None = upload_store().images.get(st.query_params.get(key, ""))
    if photo is None:
        choose(key, None)
        return None
    if upload is None:
        _show_upload(photo, key)
    return photo.open()


def leave_page() -> None:
    """Forget which files are in the uploaders: another page has its own."""
    for key in [key for key in st.session_state if str(key).startswith("last ")]:
        del st.session_state[key]


def choose(key: str, name: str | None) -> None:
    """Put an image into the address, or take it out."""
    st.session_state[f"chosen {key}"] = name
    if name is not None:
        st.query_params[key] = name
    elif key in st.query_params:
        del st.query_params[key]


def _restore(key: str) -> None:
    """Take over the image of the page before, unless the link has a choice of its own."""
    before = st.session_state.get(f"chosen {key}")
    if key in st.query_params:
        return
    if any(name in st.query_params for name in _SAMPLES):
        st.session_state[f"chosen {key}"] = None
    elif before is not None:
        st.query_params[key] = before


def _show_upload(photo: UploadedImage, key: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/image: {safe(photo.file, 60)}", width="content")
        st.button(t("Remove"), key=f"away {key}", on_click=choose, args=(key, None), icon=":material/close:")


EXAMPLE = "example:fashion"


_MOST = 2000  # images


_USUAL = 50


_FEWEST = 10


def choose_sample(model: SharedModel, key: str = "count", usual: int = _USUAL, most: int = _MOST) -> DataSample:
    """Let the user choose a data set that suits the model, and how many images of it.

    Args:
        model: knows the classes.
        key: of the number of images: pages that need other numbers have their own.
        usual: the number that is proposed.
        most: the largest one.
    """
    names = names_for(model)
    only_among(DATA, names)
    name = st.selectbox(t("Images"), names, key=DATA, bind="query-params")
    remember(DATA, name)
    count, seed = choose_size(t("How many"), key, usual, most)
    with stop_on_error(), st.spinner(t("Sampling images …")):
        sample = draw_sample(name, count, seed)
    st.caption(t("{count} images sampled from {name}.", count=len(sample.data), name=safe(sample.name)))
    return sample


def choose_data() -> str:
    """Let the user choose among all data sets, whatever the model."""
    name: str = st.selectbox(t("Data set"), data_names(), key=DATA, bind="query-params")
    remember(DATA, name)
    return name


def choose_size(label: str, key: str, usual: int, most: int) -> tuple[int, int]:
    """Let the user choose a number of images, and the seed of their draw."""
    left, right = st.columns(2)
    count = int(left.number_input(label, _FEWEST, most, usual, 10, key=key, bind="query-params"))
    return count, int(right.number_input(t("Seed"), 0, 2**31 - 1, 0, key="sample_seed", bind="query-params"))


def names_for(model: SharedModel) -> list[str]:
    """Return the data sets that suit the model; where there is none, say what to do and end the run."""
    with stop_on_error():
        names = suitable_data(model)
    if not names:
        st.info(
            t(
                "No data set here has this model's classes. Choose an example model, or start with `xai "
                "dashboard --data FOLDER`, one folder per class."
            ),
            icon=":material/folder_off:",
        )
        if EXAMPLE in model_names():
            label = t("Use {name}", name=EXAMPLE)
            st.button(label, key="take_example", on_click=_take_example, icon=":material/play_arrow:")
        st.stop()
    return names


def _take_example() -> None:
    """Choose the example model, whose images are here."""
    st.session_state["model"] = EXAMPLE


_UNLOADED = "unloaded"


def choose_case() -> tuple[SharedModel, SourceImage, xai.results.Prediction]:
    """Let the user choose a model and an image, and show what the one says of the other."""
    uploaded = upload_image()
    samples = st.container()
    model = choose_model()
    with samples:
        image = uploaded or choose_sample_image(model)
    with stop_on_error(), st.spinner(t("Reading the image …")):
        prediction = predicted(model, image)
    show_prediction(prediction)
    return model, image, prediction


def show_prediction(prediction: xai.results.Prediction) -> None:
    """Show the five most probable classes as bars."""
    st.markdown(t("**Prediction**"))
    show_bars(prediction.top(5))


def show_bars(top: Sequence[tuple[str, float]]) -> None:
    """Show classes with their probabilities as bars."""
    for label, share in top:
        st.progress(min(1.0, max(0.0, share)), text=f"{safe(label, 60)} · {percent(share)}")


def choose_model(usual: str | None = None) -> SharedModel:
    """Let the user choose a model, and load it.

    Args:
        usual: the example that a page of data sets opens with; a model named at the start wins. None for the first one.
    """
    names = model_names()
    first = names.index(usual) if usual in names and given_model() is None else 0
    name = st.selectbox(t("Model"), names, first, key="model", bind="query-params")
    if name == names[first]:
        forget(MODEL)  # another page opens with another one
    else:
        remember(MODEL, name)
    if st.session_state.get(_UNLOADED) == name:
        st.info(t("The model is unloaded."), icon=":material/eject:")
        st.button(t("Load it again"), key="load_again", on_click=unload, args=(None,), icon=":material/play_arrow:")
        st.stop()
    st.session_state.pop(_UNLOADED, None)
    with stop_on_error(), st.spinner(t("Loading the model …")):
        return load_model(name)


def unload(name: str | None) -> None:
    """Give a model's memory back, and do not load it before it is asked for again; None asks for it again."""
    if name is None:
        st.session_state.pop(_UNLOADED, None)
        return
    load_model.clear(name)
    st.session_state[_UNLOADED] = name


def keep_choices() -> None:
    """Take over model and data of the page before, unless the link has them; Streamlit forgets them in between."""
    leave_page()
    if MODEL not in st.query_params:
        st.session_state.pop(MODEL, None)  # the default of the page before; a choice is taken over below
    take_over({MODEL: model_names(), DATA: offered_data()})


def choose_sample_image(model: SharedModel) -> SourceImage:
    """Offer sample images that suit the model: photographs, or the small grey ones for small grey inputs."""
    with stop_on_error():
        if model.classifier.channels == 1 and model.classifier.input_size == (28, 28):
            clothes = garments()
            return clothes[_pick("garment", list(clothes))]
        photos = {photo.name: photo for photo in xai.sample_photos()}
        photo = photos[_pick("photo", list(photos))]
        st.caption(safe(f"{photo.title}. {photo.author}, {photo.licence}."))
        return from_path(photo.path, photo.name)


def _pick(key: str, names: list[str]) -> str:
    chosen = st.pills(
        t("or a sample"), names, default=names[0], required=True, key=key, format_func=safe, bind="query-params"
    )
    return chosen or names[0]


def class_names(labels: Sequence[str]) -> dict[int, str]:
    """Return what classes are called, each in its own way."""
    times = Counter(labels)
    return {k: label if times[label] == 1 else f"{label} ({k})" for k, label in enumerate(labels)}
