"""Image files by class: found in a folder, and read when they are asked for."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import sha256
from captum_proto.data.batches import ImageBatches
from captum_proto.data.collection import Collection
from captum_proto.data.images import ImageGeometry
from captum_proto.data.labels import LEADS_OUT, Links, existing_folder, few, images_below, label_files


class ImageCollection(Collection):
    r"""
    Image files and the classes they are of.

    Nothing but file names is kept: images are read when :meth:`~captum_proto.data.Collection.batches` is iterated, a batch at a
    time. Files that turn out to be unreadable are left out, named in :attr:`~captum_proto.data.Collection.skipped`, and warned of
    once.

    Args:
        paths (Sequence[str or os.PathLike]): N image files.
        labels (Sequence[int]): N class indices of the model.
        class_names (Sequence[str], optional): Names of all classes, for messages. Default: None
        root (str or os.PathLike, optional): Where the images come from, for messages. Default: None

    Raises:
        ValueError: If there are no paths, or not one label for each.

    Examples::

        >>> import tempfile
        >>> from PIL import Image
        >>> folder = tempfile.mkdtemp()
        >>> for name, color in (("0_a", "red"), ("0_b", "brown"), ("2_a", "blue")):
        ...     Image.new("RGB", (20, 16), color).save(f"{folder}/{name}.png")
        >>> images = ImageCollection.discover(folder)
        >>> images.classes
        [0, 2]
        >>> [batch.shape for batch in images.of([0]).batches((3, 8, 8), batch_size=32)]
        [torch.Size([2, 3, 8, 8])]
        >>> images.except_([0]).paths[0].name
        '2_a.png'
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        labels: Sequence[int],
        class_names: Sequence[str] | None = None,
        root: str | os.PathLike[str] | None = None,
    ) -> None:
        if len(paths) != len(labels) or not paths:
            raise InputError(
                f"there are {len(paths)} paths and {len(labels)} labels; expected at least one path, and a class index for each."
            )
        self.files = [(os.fspath(path), operator.index(label)) for path, label in zip(paths, labels, strict=True)]
        #: Why a file cannot be read, by path; parts of a collection share what their passes find.
        self.unreadable: dict[str, str] = {}
        #: The files that are stored turned or mirrored, as far as passes have found them.
        self.turned: set[str] = set()
        self.class_names = None if class_names is None else list(class_names)
        self.root = Path(os.path.dirname(self.files[0][0]) if root is None else root)
        self.where = f'"{self.root}"'
        self._strays: list[tuple[Path, str]] = []

    @classmethod
    def discover(
        cls,
        root: str | os.PathLike[str],
        class_names: Sequence[str] | None = None,
        *,
        wnids: Sequence[str] | None = None,
        split: str | None = None,
        class_table: str | os.PathLike[str] | None = None,
        follow_links: bool | None = None,
    ) -> ImageCollection:
        r"""
        Find the images in a folder and the class of each.

        Three layouts are known:

        1. ImageNet's: ``root/nXXXXXXXX/*`` or ``root/{train,val}/nXXXXXXXX/*``. Which class a wnid is comes from ``wnids``, else from
           ``class_table``, else from ``classes.csv`` (columns index, wnid, name), ``LOC_synset_mapping.txt`` or ``synset_words.txt``
           beside the images, else from the sorted order if every class is there, else, for a model with 1000 named classes, from the
           list of ImageNet's.
        2. One folder for each class, named by index, by a class name of the model, or, if there are no class names, in sorted order.
        3. A flat folder whose file names begin with an index and a separator (``0012_anything.jpg``), carry a wnid, or begin with a
           class name. If folders lie beside such files, they make layout 2 only where one is called after a class.

        Names are compared without regard to case and punctuation. Names go before indices: a number is the class of that name, and where
        all classes are named by numbers, never an index. Images that lie outside the layout are named in
        :attr:`~captum_proto.data.Collection.skipped`. An image is what ends as files do of any format that Pillow decodes by itself;
        photographs of other formats, such as HEIC without a plugin, and links that lead nowhere are named there when they are read.
        Links to the folder itself, or to one above it, hold no class. Links that lead elsewhere out of the folder are not followed unless
        ``follow_links`` says so; torchvision's ``ImageFolder`` follows them. They are named in ``skipped`` and warned of.

        Args:
            root (str or os.PathLike): The folder.
            class_names (Sequence[str], optional): The model's class names. Default: None
            wnids (Sequence[str], optional): The wnid of each class, in order. Default: None
            split (str, optional): Which of the folders val, validation, test and train to read; None: the first of them that is there.
                Default: None
            class_table (str or os.PathLike, optional): A table of classes in place of those beside the images: CSV with a first line that
                names the columns index, wnid and name, or a line for each class that begins with its wnid. Default: None
            follow_links (bool, optional): Whether to follow links that lead out of the folder, as in a subset made of links to a whole data
                set. Default: None, False but under ``captum-proto --follow-links``

        Returns:
            ImageCollection: All images, ordered by class and file name.

        Raises:
            FileNotFoundError: If there is no such folder.
            NotADirectoryError: If ``root`` is a file.
            ValueError: If there are no images, or it is not clear which classes they are of.

        Examples::

            >>> import tempfile
            >>> from pathlib import Path
            >>> from PIL import Image
            >>> folder = Path(tempfile.mkdtemp())
            >>> for name in ("tabby cat", "Flute"):
            ...     (folder / name).mkdir()
            ...     Image.new("L", (9, 9)).save(folder / name / "1.png")
            >>> ImageCollection.discover(folder, class_names=["flute", "goldfish", "tabby_cat"]).labels
            [0, 2]
        """
        folder = existing_folder(root)
        table = None if class_table is None else os.fspath(class_table)
        found = label_files(folder, class_names, wnids, split, table, follow_links)
        collection = cls(
            [path for path, _ in found.files], [label for _, label in found.files], found.class_names, folder
        )
        collection._strays = found.strays
        if found.strays:
            named = few([f"{path.name} ({reason})" for path, reason in found.strays], 3)
            warnings.warn(
                f'{len(found.strays)} images in "{folder}" are of no known class or lie outside of it and are skipped: {named}; .skipped '
                "lists them.",
                stacklevel=2,
            )
        return collection

    @classmethod
    def one_class(
        cls, root: str | os.PathLike[str], label: int = 0, *, follow_links: bool | None = None
    ) -> ImageCollection:
        r"""
        Take all images in a folder, and in the folders within it, for images of one class, whatever they are called.

        Args:
            root (str or os.PathLike): The folder.
            label (int, optional): The class index of all of them. Default: 0
            follow_links (bool, optional): Whether to follow links that lead out of the folder. Default: None, as in :meth:`discover`

        Returns:
            ImageCollection: All images, ordered by path.

        Raises:
            FileNotFoundError: If there is no such folder.
            NotADirectoryError: If ``root`` is a file.
            ValueError: If there are no images.

        Examples::

            >>> import tempfile
            >>> from PIL import Image
            >>> folder = tempfile.mkdtemp()
            >>> Image.new("L", (9, 9)).save(f"{folder}/anything.png")
            >>> ImageCollection.one_class(folder, label=400).labels
            [400]
        """
        folder = existing_folder(root)
        outside: list[str] = []
        paths = sorted(images_below(folder, Links(folder, follow_links), outside))
        if outside:
            warnings.warn(
                f'{len(outside)} images in "{folder}" are links that lead out of it and are skipped; .skipped lists them, and '
                "follow_links=True (captum-proto --follow-links COMMAND) follows them.",
                stacklevel=2,
            )
        if not paths:
            raise InputError(
                f'"{folder}" holds no images; expected files that end in .jpeg, .png or as any other format that Pillow reads.'
            )
        collection = cls(paths, [label] * len(paths), None, folder)
        collection._strays = [(Path(path), LEADS_OUT) for path in outside]
        return collection

    @property
    def readable(self) -> list[tuple[str, int]]:
        """Path and class index of each file, without those that a pass has found unreadable."""
        return [(path, label) for path, label in self.files if path not in self.unreadable]

    @property
    def paths(self) -> list[Path]:
        """The image files, in the order of the batches; without those that a pass has found unreadable."""
        return [Path(path) for path, _ in self.readable]

    @property
    def labels(self) -> list[int]:
        """The class index of each of :attr:`paths`."""
        return [label for _, label in self.readable]

    @property
    def all_labels(self) -> list[int]:
        """The class index of each file, readable or not, so that a damaged file changes no draw."""
        return [label for _, label in self.files]

    @property
    def skipped(self) -> list[tuple[Path, str]]:
        """The files left out so far, each with the reason."""
        unreadable = [(Path(path), self.unreadable[path]) for path, _ in self.files if path in self.unreadable]
        return self._strays + unreadable

    def take(self, places: list[int]) -> ImageCollection:
        """The part of the collection at some places of all files."""
        files = [self.files[place] for place in places]
        part = ImageCollection([path for path, _ in files], [label for _, label in files], self.class_names, self.root)
        part.unreadable, part.turned = self.unreadable, self.turned
        return part

    def batches_for(self, geometry: ImageGeometry, batch_size: int = 32, workers: int = 0) -> ImageBatches:
        """The images as batches for a model whose geometry is known; otherwise as :meth:`~captum_proto.data.Collection.batches`."""
        return ImageBatches(self, geometry, batch_size, workers)

    def listed(self) -> list[tuple[str, str]]:
        """The path and the SHA-256 digest of each file; "unreadable" where there is nothing to read, as of a link that leads nowhere."""
        return [(str(path), _digest(path)) for path in self.paths]


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError:  # a pass over the images says why
        return "unreadable"
